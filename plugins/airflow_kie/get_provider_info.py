"""What Airflow reads of this provider: connection type and its form, configuration section, assets, links."""

from __future__ import annotations

from typing import Any

PACKAGE = "airflow-provider-kie-ai"

_SECRET = {"type": ["string", "null"], "format": "password"}
_TEXT = {"type": ["string", "null"]}


def _field(label: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema}


CONNECTION_FIELDS = {
    # Airflow masks extra fields by their name: *_secret is hidden, *_key would show.
    "webhook_secret": _field(
        "Webhook secret", "The webhook HMAC key from kie.ai/settings: checks that callbacks come from KIE.", _SECRET
    ),
    "webhook_secret_previous": _field(
        "Previous webhook secret", "While you change the secret: the old one, still accepted.", _SECRET
    ),
    "callback_token_secret": _field(
        "Secret for unsigned callbacks",
        "Only for an account without webhook HMAC key: at least 32 random characters. Callbacks are then believed by "
        "a token in their URL that is derived from it.",
        _SECRET,
    ),
    "callback_url": _field(
        "Public callback URL",
        "Where KIE reaches this Airflow, such as https://airflow.example.com; with a path, it is sent as it is. "
        "Empty: results are polled.",
        _TEXT,
    ),
    "account": _field(
        "Account name",
        "Connections with keys of one KIE account share its rate limit: give them the same name.",
        _TEXT,
    ),
    "rate_limit": _field(
        "New tasks per 10 seconds",
        "KIE allows 20 for an account. Lower it if other programs use the account too.",
        {"type": ["integer", "null"], "minimum": 1, "maximum": 1000},
    ),
    "max_creates_per_day": _field(
        "New tasks per 24 hours",
        "A cap on spending, over all runs. Empty: none. What KIE refuses does not count.",
        {"type": ["integer", "null"], "minimum": 0},
    ),
    "limiter_conn_id": _field(
        "Limiter's connection",
        "Airflow connection (redis or postgres) that all machines share. Empty: a file on each machine.",
        _TEXT,
    ),
    "upload_host": _field("Upload host", "Only for tests: where files are uploaded to.", _TEXT),
}

CONFIG: dict[str, Any] = {
    "kie": {
        "description": "Runs without a form take these; a Param or an event that names its own wins.",
        "options": {
            "bucket": {
                "description": "Bucket that songs are archived to.",
                "version_added": "0.1.0",
                "type": "string",
                "example": "my-covers",
                "default": "",
            },
            "prefix": {
                "description": "Key prefix in the bucket, without a slash at either end.",
                "version_added": "0.1.0",
                "type": "string",
                "example": "songs",
                "default": "songs",
            },
            "aws_conn_id": {
                "description": "Airflow connection for S3; the default credential chain is used if it is empty.",
                "version_added": "0.1.0",
                "type": "string",
                "example": None,
                "default": "aws_default",
            },
            "s3_extra_args": {
                "description": "S3Hook's extra_args as JSON: encryption, storage class, tags, expected bucket owner.",
                "version_added": "0.1.0",
                "type": "string",
                "example": '{"ServerSideEncryption": "aws:kms", "ExpectedBucketOwner": "123456789012"}',
                "default": "",
            },
            "archive_audio": {
                "description": "Archive the songs' audio files too.",
                "version_added": "0.1.0",
                "type": "boolean",
                "example": None,
                "default": "False",
            },
            "archive_lyrics": {
                "description": "Archive the songs' lyrics too.",
                "version_added": "0.1.0",
                "type": "boolean",
                "example": None,
                "default": "False",
            },
            "kie_conn_ids": {
                "description": "Connections that an event, an inbox file or a form may name, separated by commas.",
                "version_added": "0.1.0",
                "type": "string",
                "example": "kie_default,kie_label_b",
                "default": "kie_default",
            },
            "receiver": {
                "description": "Serve the callback receiver at /kie/callback/<connection id> in the api-server.",
                "version_added": "0.1.0",
                "type": "boolean",
                "example": None,
                "default": "False",
            },
            "inbox_every_minutes": {
                "description": "How often DAG cover_inbox looks into <bucket>/inbox/.",
                "version_added": "0.1.0",
                "type": "float",
                "example": None,
                "default": "5",
            },
            "inbox_songs_per_day": {
                "description": "Songs that the inbox takes in 24 hours; the rest waits, an object of more is rejected.",
                "version_added": "0.1.0",
                "type": "integer",
                "example": None,
                "default": "500",
            },
            "reconcile_after_minutes": {
                "description": "A song that is owed something is handed on again when nobody worked on it for so long.",
                "version_added": "0.1.0",
                "type": "float",
                "example": None,
                "default": "10",
            },
            "credits_per_cover": {
                "description": "What a cover costs you, to compare with the balance before a run. 0: not known.",
                "version_added": "0.1.0",
                "type": "float",
                "example": None,
                "default": "0",
            },
            "include_texts": {
                "description": "Tell lineage and events prompts and lyrics word for word; otherwise hash and length.",
                "version_added": "0.1.0",
                "type": "boolean",
                "example": None,
                "default": "False",
            },
            "outage_timeout_hours": {
                "description": "How long scheduled and event runs wait for a refusing account, KIE or bucket.",
                "version_added": "0.1.0",
                "type": "float",
                "example": None,
                "default": "24",
            },
            "outage_probe_seconds": {
                "description": "The longest first pause of a task in an outage; later ones grow to 40 times that.",
                "version_added": "0.1.0",
                "type": "float",
                "example": None,
                "default": "15",
            },
            "ops_every_minutes": {
                "description": "How often DAG kie_ops checks.",
                "version_added": "0.1.0",
                "type": "float",
                "example": None,
                "default": "10",
            },
            "credits_alert": {
                "description": "kie_ops fails when a balance falls below this, below a quarter of it, and to nothing.",
                "version_added": "0.1.0",
                "type": "float",
                "example": "500",
                "default": "0",
            },
            "expiry_alert_days": {
                "description": "kie_ops fails when KIE deletes files that are not archived within so many days.",
                "version_added": "0.1.0",
                "type": "float",
                "example": None,
                "default": "3",
            },
            "notifier": {
                "description": "Class of an Airflow notifier that is sent what docs/monitoring.md lists. Empty: none.",
                "version_added": "0.1.0",
                "type": "string",
                "example": "airflow.providers.slack.notifications.slack_webhook.SlackWebhookNotifier",
                "default": "",
            },
            "notifier_args": {
                "description": "Its arguments as JSON, in which {title} and {text} stand for ours.",
                "version_added": "0.1.0",
                "type": "string",
                "example": '{"slack_webhook_conn_id": "slack", "text": "*{title}*\\n{escaped}"}',
                "default": "",
            },
            "notify_of": {
                "description": "What it is sent.",
                "version_added": "0.1.0",
                "type": "string",
                "example": "incidents",
                "default": "archived, failed, incidents, late",
            },
            "deadline_minutes": {
                "description": "A message is sent about a run of music_cover that takes longer. 0: none.",
                "version_added": "0.1.0",
                "type": "float",
                "example": "60",
                "default": "0",
            },
            "confirm_failure_seconds": {
                "description": "A failure is believed when two reads this far apart agree.",
                "version_added": "0.1.0",
                "type": "float",
                "example": None,
                "default": "30",
            },
            "max_file_mb": {
                "description": "Largest file that is archived, in megabytes.",
                "version_added": "0.1.0",
                "type": "integer",
                "example": None,
                "default": "500",
            },
            "allow_loopback_files": {
                "description": "Fetch files from this machine over http. Only for a simulator of KIE.",
                "version_added": "0.1.0",
                "type": "boolean",
                "example": None,
                "default": "False",
            },
            "simulator_hosts": {
                "description": "Simulators of KIE on other machines (host:port, with commas): asked over http.",
                "version_added": "0.1.0",
                "type": "string",
                "example": "simulator:8000",
                "default": "",
            },
        },
    }
}


def get_provider_info() -> dict[str, Any]:
    """Return what Airflow's ProvidersManager wants to know; `package-name` must equal the distribution's name."""
    return {
        "package-name": PACKAGE,
        "name": "KIE.ai",
        "description": "KIE.ai jobs from Airflow: pay once, wait well, archive whole.",
        "integrations": [
            {"integration-name": "KIE.ai", "external-doc-url": "https://docs.kie.ai", "tags": ["service"]}
        ],
        "hooks": [{"integration-name": "KIE.ai", "python-modules": ["airflow_kie.hooks.kie"]}],
        "operators": [{"integration-name": "KIE.ai", "python-modules": ["airflow_kie.operators.suno"]}],
        "sensors": [{"integration-name": "KIE.ai", "python-modules": ["airflow_kie.sensors.suno"]}],
        "triggers": [{"integration-name": "KIE.ai", "python-modules": ["airflow_kie.triggers.task"]}],
        "transfers": [
            {
                "source-integration-name": "KIE.ai",
                "target-integration-name": "Amazon Simple Storage Service (S3)",
                "python-module": "airflow_kie.transfers.kie_to_s3",
            }
        ],
        "extra-links": [
            "airflow_kie.links.kie.KieLogsLink",
            "airflow_kie.links.kie.KieSongLink",
            "airflow_kie.links.kie.S3ObjectLink",
        ],
        "connection-types": [
            {
                "connection-type": "kie",
                "hook-class-name": "airflow_kie.hooks.kie.KieHook",
                "hook-name": "KIE.ai",
                "conn-fields": CONNECTION_FIELDS,
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "schema", "port"],
                    "relabeling": {"password": "API key", "host": "Host"},
                    "placeholders": {"host": "https://api.kie.ai", "password": "from kie.ai/api-key"},
                },
            }
        ],
        "notifications": [
            "airflow_kie.notifications.kie.KieArchivedNotifier",
            "airflow_kie.notifications.kie.KieFailedNotifier",
            "airflow_kie.notifications.kie.KieDeadlineNotifier",
        ],
        "cli": ["airflow_kie.cli.definition.get_kie_commands"],
        "asset-uris": [
            {
                "schemes": ["kie"],
                "handler": "airflow_kie.lineage.asset_uri.sanitize_uri",
                "factory": "airflow_kie.lineage.asset_uri.create_asset",
                "to_openlineage_converter": "airflow_kie.lineage.asset_uri.to_openlineage",
            }
        ],
        "config": CONFIG,
    }
