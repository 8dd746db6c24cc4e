"""Text that fits into what stores it."""

from __future__ import annotations

from awssome.domain.texts import fitting, storable


def test_text_is_cut_at_what_fits_and_never_inside_a_symbol() -> None:
    assert storable("plain") == fitting("plain", 10) == "plain"
    assert fitting("🚀" * 5, 10) == "🚀" * 5
    assert fitting("🚀" * 6, 10) == "🚀" * 4 + "…"
    assert len(fitting("x" * 600, 500)) == 500


def test_what_no_engine_can_store_goes() -> None:
    assert storable("a\x00b \ud800 🚀") == "ab ? 🚀"
