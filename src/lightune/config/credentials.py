"""Keep passwords, keys and tokens out of the run's folder and out of what is printed."""

import os
import re
from typing import Any

from lightune.common.errors import UserError
from lightune.config.nested import leaves

WORDS = r"api_?key|access_?key|private_?key|secret(?:_?key)?|password|passwd|passphrase|credentials?"
KEY = re.compile(
    rf"(?:{WORDS}|(?<![a-z])(?:auth|pwd|(?<!pad_)(?<!bos_)(?<!eos_)(?<!unk_)(?<!sep_)(?<!cls_)(?<!mask_)token))$",
    re.IGNORECASE,
)
"""Matches the end of an option's name that holds a secret; a tokenizer's special tokens are not secrets."""

URL = re.compile(r"(?<=://)(?:[^/\s:@]*:[^/\s@]+|(?<=https://)[^/\s:@]+|(?<=http://)[^/\s:@]+)(?=@)", re.IGNORECASE)
QUERY = re.compile(rf"(?<=[?&])((?:\w*_)?(?:{WORDS}|token))=[^&\s]+", re.IGNORECASE)
TOKEN = re.compile(r"\b(?:hf_\w{20,}|gh[opsur]_\w{30,}|github_pat_\w{20,}|sk-[\w-]{20,}|AKIA[0-9A-Z]{16})\b")
"""Tokens that are recognised by their form: of the Hub, of code hosts, of cloud services."""

REFERENCE = re.compile(r"\$\{[^${},]*(?:,\s*(?:null|''|\"\")\s*)?\}")
"""An interpolation that holds no text itself."""


def hide(arguments: list[str]) -> list[str]:
    """Move secrets from overrides into environment variables, and name those in the overrides.

    Hydra writes overrides to the run's folder, a sweep prints them, and loggers keep the command line.
    ``OPTION=SECRET`` becomes ``OPTION=${oc.env:LIGHTUNE_SECRET_OPTION,null}``.
    """
    hidden = []
    for argument in arguments:
        option, _, value = argument.partition("=")
        text = value[1:-1] if value[:1] in ("'", '"') and value[-1:] == value[:1] and len(value) > 1 else value
        if not option.startswith("-") and not text.startswith(("{", "[")) and _is_secret(option, text):
            name = "LIGHTUNE_SECRET_" + re.sub(r"\W", "_", option.strip("+~").replace(".", "__")).upper()
            os.environ[name] = text
            argument = f"{option}=${{oc.env:{name},null}}"
        hidden.append(argument)
    return hidden


def check_credentials(cfg: dict[str, Any]) -> None:
    """Refuse a configuration, not yet resolved, that holds a secret in plain text, before it is written anywhere.

    Raises:
        UserError: names the option, not the secret, and says how to give it.
    """
    for where, value in leaves(cfg):
        option, _, text = str(value).partition("=") if ".overrides." in where else ("", "", "")
        text = text.replace("\\", "")  # a sweep writes interpolations so
        if _is_secret(where, value) or (option and _is_secret(option, text)):
            raise UserError(
                f"{option or where} holds a secret, which would be written to the run's folder. Nothing was run.\n"
                "Set it in the environment, and name the variable where the secret stands: ${oc.env:NAME,null}"
            )


def redact(text: str) -> str:
    """Return a text with ``***`` in place of what looks like a password or a token."""
    text = re.sub(
        rf"((?:{KEY.pattern[:-1]})['\"]?\s*[=:]\s*['\"]?)[^\s,;'\"${{}}]+", r"\1***", text, flags=re.IGNORECASE
    )
    return TOKEN.sub("***", QUERY.sub(r"\1=***", URL.sub("***", text)))


def _is_secret(option: str, value: object) -> bool:
    if not isinstance(value, str | int) or str(value).lower() in ("", "null", "true", "false", "???"):
        return False
    text = REFERENCE.sub("", str(value))
    return bool(text) and bool(KEY.search(option) or URL.search(text) or QUERY.search(text) or TOKEN.search(text))
