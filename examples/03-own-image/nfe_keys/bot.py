"""Checks the access keys given as the parameter `keys`."""

from dataclasses import asdict

from maestro.worker import BotError
from nfe_keys.key import AccessKey


def run(parameters, context):
    keys = parameters.get("keys")
    if not isinstance(keys, list):
        raise BotError("give `keys`, a list of access keys", error_class="INVALID_PARAMETERS")
    valid, failed = [], []
    for key in keys:
        if context.cancelled:
            break
        try:
            valid.append({"key": key} | asdict(AccessKey.parse(str(key))))
        except ValueError as error:
            context.log.warning("%s: %s", key, error)
            failed.append({"key": key, "error_class": "INVALID_PARAMETERS", "message": str(error)})
    return {"valid": valid, "summary": {"ok": len(valid), "failed": failed, "no_data": 0, "skipped": 0}}
