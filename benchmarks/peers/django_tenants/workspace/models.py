"""`awssome.database.schema`, table by table; our fence and guard have no counterpart here."""

from django.db import models
from django.db.models import Q


class DealRegistration(models.Model):
    id = models.UUIDField(primary_key=True)
    source = models.CharField(max_length=16)
    title = models.CharField(max_length=255)
    stage = models.CharField(max_length=40)
    customer_company = models.CharField(max_length=120, null=True)
    customer_website = models.CharField(max_length=255, null=True)
    customer_industry = models.CharField(max_length=40, null=True)
    customer_country = models.CharField(max_length=2, null=True)
    customer_postal_code = models.CharField(max_length=20, null=True)
    business_problem = models.CharField(max_length=2000, null=True)
    use_case = models.CharField(max_length=120, null=True)
    opportunity_type = models.CharField(max_length=32, null=True)
    delivery_model = models.CharField(max_length=40, null=True)
    target_close_date = models.DateField(null=True)
    deal_amount = models.DecimalField(max_digits=19, decimal_places=4, null=True)
    deal_currency = models.CharField(max_length=3, null=True)
    expected_aws_spend = models.DecimalField(max_digits=19, decimal_places=4, null=True)
    next_steps = models.CharField(max_length=255, null=True)
    edited_fields = models.JSONField()
    ready = models.BooleanField()
    version = models.IntegerField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    updated_by = models.CharField(max_length=254)
    archived_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "deal_registrations"
        indexes = [models.Index(fields=["updated_at", "id"], name="deal_registrations_updated")]


class DealEvent(models.Model):
    id = models.UUIDField(primary_key=True)
    registration = models.ForeignKey(DealRegistration, models.DO_NOTHING, db_index=False)
    at = models.DateTimeField()
    kind = models.CharField(max_length=24)
    actor = models.CharField(max_length=254)
    changes = models.JSONField()

    class Meta:
        db_table = "deal_events"
        indexes = [models.Index(fields=["registration", "id"], name="deal_events_registration")]


class HubSpotToken(models.Model):
    id = models.IntegerField(primary_key=True)
    state = models.CharField(max_length=16)
    portal_id = models.BigIntegerField()
    hub_domain = models.CharField(max_length=255)
    scopes = models.CharField(max_length=1000)
    access_token = models.BinaryField(null=True)
    refresh_token = models.BinaryField(null=True)
    expires_at = models.DateTimeField(null=True)
    connected_at = models.DateTimeField()
    connected_by = models.CharField(max_length=254)
    refreshed_at = models.DateTimeField(null=True)
    imports = models.IntegerField()

    class Meta:
        db_table = "hubspot_tokens"


class TenantKey(models.Model):
    id = models.UUIDField(primary_key=True)
    key_id = models.CharField(max_length=64)
    wrapped_key = models.BinaryField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "tenant_keys"


class HubSpotMapping(models.Model):
    portal_id = models.BigIntegerField()
    deal_id = models.CharField(max_length=32)
    registration = models.OneToOneField(DealRegistration, models.DO_NOTHING)
    state = models.CharField(max_length=16)
    source_hash = models.BinaryField(max_length=32)
    modified_at = models.DateTimeField(null=True)
    first_sync_id = models.UUIDField()
    last_sync_id = models.UUIDField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "hubspot_mappings"
        constraints = [models.UniqueConstraint(fields=["portal_id", "deal_id"], name="hubspot_mappings_deal")]


class FieldMapping(models.Model):
    field = models.CharField(max_length=40, unique=True)
    property = models.CharField(max_length=100, null=True)
    default_value = models.CharField(max_length=2000, null=True)
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "field_mappings"


class StageMapping(models.Model):
    pipeline = models.CharField(max_length=64)
    hubspot_stage = models.CharField(max_length=64)
    stage = models.CharField(max_length=40)
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "stage_mappings"
        constraints = [models.UniqueConstraint(fields=["pipeline", "hubspot_stage"], name="stage_mappings_stage")]


class Sync(models.Model):
    id = models.UUIDField(primary_key=True)
    state = models.CharField(max_length=16)
    attempt = models.IntegerField()
    requested_by = models.CharField(max_length=254)
    deal_limit = models.IntegerField(null=True)
    next_page = models.CharField(max_length=255, null=True)
    available = models.IntegerField(null=True)
    imported = models.IntegerField()
    seen = models.IntegerField()
    created = models.IntegerField()
    updated = models.IntegerField()
    unchanged = models.IntegerField()
    left_out = models.IntegerField()
    failed = models.IntegerField()
    calls = models.IntegerField()
    requested_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    problem = models.CharField(max_length=1000, null=True)
    advice = models.CharField(max_length=500, null=True)
    open_slot = models.IntegerField(null=True)

    class Meta:
        db_table = "sync_history"
        indexes = [models.Index(fields=["requested_at"], name="sync_history_requested")]
        constraints = [
            models.UniqueConstraint(
                fields=["open_slot"], condition=Q(open_slot__isnull=False), name="sync_history_one_open"
            )
        ]


class SyncIssue(models.Model):
    id = models.UUIDField(primary_key=True)
    sync = models.ForeignKey(Sync, models.DO_NOTHING, db_index=False)
    kind = models.CharField(max_length=16)
    deal_id = models.CharField(max_length=32)
    registration_id = models.UUIDField(null=True)
    title = models.CharField(max_length=255)
    field = models.CharField(max_length=40)
    reason = models.CharField(max_length=500)
    advice = models.CharField(max_length=500)

    class Meta:
        db_table = "sync_issues"
        indexes = [models.Index(fields=["sync", "id"], name="sync_issues_sync")]
