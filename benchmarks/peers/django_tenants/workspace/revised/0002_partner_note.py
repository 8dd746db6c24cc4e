"""Adds a column, as `benchmarks.migrate` does to a tenant of ours."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("workspace", "0001_initial")]
    operations = [migrations.AddField("dealregistration", "partner_note", models.CharField(max_length=200, null=True))]
