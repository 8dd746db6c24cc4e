"""What RDS sells: engines, their versions, the classes of each edition, storage, ports. As in us-east-1.

Classes and versions: the price list as cfn-lint 1.58 carries it, cut down to families in common use. Storage: the API
reference of CreateDBInstance.
"""

from __future__ import annotations

from dataclasses import dataclass

_SIZES = ("micro", "small", "medium", "large", *(f"{n}xlarge" for n in ("", 2, 4, 8, 12, 16, 24)))
_X86 = ("m5", "m6i", "m7i", "r5", "r6i")


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine, or one edition of SQL Server."""

    name: str
    description: str
    versions: tuple[str, ...]
    """From the oldest to the newest."""
    default: str
    """The major version that is taken when none is named."""
    licenses: tuple[str, ...]
    classes: frozenset[str]
    port: int
    max_storage: int
    max_magnetic: int
    multi_az: bool = True
    encryption: bool = True

    @property
    def is_sqlserver(self) -> bool:
        return self.name.startswith("sqlserver-")

    def version(self, asked: str | None) -> str | None:
        """The full version for what was asked: itself, or the newest of a major one; None when there is none."""
        wanted = asked or self.default
        if wanted in self.versions:
            return wanted
        return next((known for known in reversed(self.versions) if known.startswith(f"{wanted}.")), None)

    def major(self, version: str) -> str:
        """The major version, as parameter groups and option groups name it."""
        return ".".join(version.split(".")[:2]) if self.is_sqlserver else version.split(".")[0]

    def family(self, version: str) -> str:
        """The family of parameter groups."""
        major = self.major(version)
        return f"{self.name}-{major.removesuffix('0')}" if self.is_sqlserver else f"{self.name}{major}"

    @property
    def storage_types(self) -> dict[str, range]:
        """The gibibytes that each type of storage may have."""
        general, provisioned = range(20, self.max_storage + 1), range(100, self.max_storage + 1)
        magnetic = range(20 if self.is_sqlserver else 5, self.max_magnetic + 1)
        return {"gp2": general, "gp3": general, "io1": provisioned, "io2": provisioned, "standard": magnetic}


def _classes(*families: tuple[str, str, str]) -> frozenset[str]:
    """Classes of families from a smallest size to a largest one."""
    return frozenset(
        f"db.{family}.{size}"
        for family, first, last in families
        for size in _SIZES[_SIZES.index(first) : _SIZES.index(last) + 1]
    )


def _sqlserver(edition: str, description: str, classes: frozenset[str], **more: bool) -> Engine:
    builds = {
        "14.00": ("3515.1", "3520.4", "3525.1", "3530.2", "3540.1", "3550.4"),
        "15.00": ("4430.1", "4435.7", "4440.1", "4445.1", "4455.2", "4460.4", "4465.1", "4470.1", "4480.2", "4490.9"),
        "16.00": ("4210.1", "4215.2", "4225.2", "4230.2", "4236.2", "4245.2", "4250.1", "4255.1", "4265.3", "4295.3"),
        "17.00": () if edition == "web" else ("4045.5", "4055.5", "4065.4", "4075.5", "5005.3"),
    }
    return Engine(
        name=f"sqlserver-{edition}",
        description=f"Microsoft SQL Server {description} Edition",
        versions=tuple(f"{major}.{build}.v1" for major, minors in builds.items() for build in minors),
        default="16.00",
        licenses=("license-included",),
        classes=classes,
        port=1433,
        max_storage=16384,
        max_magnetic=1024,
        **more,
    )


_POSTGRES_MINORS = {14: range(1, 25), 15: range(2, 20), 16: range(1, 16), 17: range(1, 12), 18: (1, 2, 3, 4, 6)}

ENGINES = {
    engine.name: engine
    for engine in (
        Engine(
            name="postgres",
            description="PostgreSQL",
            versions=tuple(f"{major}.{minor}" for major, minors in _POSTGRES_MINORS.items() for minor in minors),
            default="17",
            licenses=("postgresql-license",),
            classes=_classes(
                ("t3", "micro", "2xlarge"),
                ("t4g", "micro", "2xlarge"),
                ("m6g", "large", "16xlarge"),
                *((family, "large", "24xlarge") for family in _X86),
            ),
            port=5432,
            max_storage=65536,
            max_magnetic=3072,
        ),
        _sqlserver("ex", "Express", _classes(("t3", "micro", "xlarge")), multi_az=False, encryption=False),
        _sqlserver("web", "Web", _classes(("t3", "small", "2xlarge"), *((f, "large", "4xlarge") for f in _X86))),
        _sqlserver("se", "Standard", _classes(("t3", "xlarge", "2xlarge"), *((f, "large", "8xlarge") for f in _X86))),
        _sqlserver(
            "ee", "Enterprise", _classes(("t3", "xlarge", "2xlarge"), *((f, "xlarge", "24xlarge") for f in _X86))
        ),
    )
}
