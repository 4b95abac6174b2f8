"""What a user can be: names, access strings, ways to authenticate; checked as the service does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.engine.types import Engine
from cachefleet.engine.valkey.access_strings import IllegalAccessString, parse_access_string
from cachefleet.engine.valkey.acl import password_sha256
from cachefleet.provisioner.state.users import IAM, NO_PASSWORD, PASSWORD

ID_CHARS_MAX = 255
USER_NAME_CHARS_MAX = 120
PASSWORD_CHARS_MIN, PASSWORD_CHARS_MAX = 16, 128
PASSWORDS_MAX = 2
# Names that nodes keep for the control plane and for replication.
RESERVED_PREFIX = "cachefleet"

_ID = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*", re.ASCII)
_USER_NAME = re.compile(r"[^\s\"'\\]+")
_NOT_IN_PASSWORDS = re.compile(r"[,\"/@]")
_INPUT_TYPES = {"password": PASSWORD, "no-password-required": NO_PASSWORD, "iam": IAM}


@dataclass(frozen=True, slots=True)
class Authentication:
    """How a user proves who it is; passwords only as SHA-256."""

    type: str
    password_sha256s: tuple[str, ...] = ()


def check_id(parameter: str, value: str) -> str:
    """Return the id of a user or user group as it is stored."""
    if not _ID.fullmatch(value) or len(value) > ID_CHARS_MAX:
        raise wrong_value(
            f"The parameter {parameter} is not a valid identifier. It must begin with a letter and "
            "have only ASCII letters, digits and hyphens."
        )
    return value.lower()


def check_user_name(value: str) -> str:
    """Return a user name, which is kept as it was written."""
    printable = value.isprintable() and _USER_NAME.fullmatch(value)
    if not printable or len(value) > USER_NAME_CHARS_MAX:
        raise wrong_value(
            f"The parameter UserName must have 1 to {USER_NAME_CHARS_MAX} printable characters "
            "without blanks, quotes and backslashes."
        )
    if value.startswith(RESERVED_PREFIX):
        raise wrong_value(f"The user name {value} is reserved.")
    return value


def check_engine(value: str) -> str:
    """Return the engine of a user or user group in lower case."""
    if value.lower() not in (Engine.REDIS, Engine.VALKEY):
        raise wrong_value(f"The engine {value} is not supported: use redis or valkey.")
    return value.lower()


def check_access_string(text: str) -> str:
    """Return an access string in its stored form."""
    try:
        return parse_access_string(text).text
    except IllegalAccessString as error:
        raise wrong_value(str(error)) from error


def check_authentication(params: Mapping[str, Any]) -> Authentication | None:
    """Return how a user is to authenticate; None where the request does not say."""
    mode: Mapping[str, Any] = params.get("AuthenticationMode") or {}
    passwords: Sequence[str] | None = params.get("Passwords")
    required = params.get("NoPasswordRequired")
    wanted = mode.get("Type")
    if mode and wanted is None:
        raise wrong_value("The parameter AuthenticationMode.Type must be provided.")
    if wanted is not None and passwords is not None:
        raise wrong_combination("Passwords and AuthenticationMode cannot be used together.")
    if required and (passwords or mode.get("Passwords")):
        raise wrong_combination("Passwords and NoPasswordRequired cannot be used together.")
    if required and wanted not in (None, "no-password-required"):
        raise wrong_combination(
            f"NoPasswordRequired does not go with the authentication type {wanted}."
        )
    if wanted is not None:
        return _of_mode(wanted, mode.get("Passwords"))
    if passwords is not None:
        return Authentication(PASSWORD, check_passwords(passwords))
    return Authentication(NO_PASSWORD) if required else None


def _of_mode(wanted: str, passwords: Sequence[str] | None) -> Authentication:
    if wanted != "password":
        if passwords:
            raise wrong_combination(f"The authentication type {wanted} takes no passwords.")
        return Authentication(_INPUT_TYPES[wanted])
    if not passwords:
        raise wrong_combination("The authentication type password requires passwords.")
    return Authentication(PASSWORD, check_passwords(passwords))


def check_passwords(passwords: Sequence[str]) -> tuple[str, ...]:
    """Return passwords as engines keep them; in clear they go no further."""
    if not 1 <= len(passwords) <= PASSWORDS_MAX:
        raise wrong_value(f"A user can have one or {PASSWORDS_MAX} passwords.")
    for password in passwords:
        if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
            raise wrong_value(
                f"Passwords length must be between {PASSWORD_CHARS_MIN}-{PASSWORD_CHARS_MAX} "
                "characters."
            )
        if _NOT_IN_PASSWORDS.search(password) or not password.isprintable():
            raise wrong_value('Passwords must be printable and without the characters , " / @.')
    if len(set(passwords)) != len(passwords):
        raise wrong_value("The passwords of a user must differ.")
    return tuple(password_sha256(password) for password in passwords)


def check_whole(*, user_id: str, user_name: str, engine: str, authentication_type: str) -> None:
    """Check what goes together in a user, new or changed."""
    if authentication_type == IAM and user_id != user_name:
        raise wrong_combination("User Id and User name must be same for authentication type: iam")
    if engine == Engine.VALKEY and authentication_type == NO_PASSWORD:
        raise wrong_combination(
            "Users with engine valkey must use a password or IAM authentication."
        )


def no_password() -> Exception:
    """Return the refusal of a user that nothing proves."""
    return wrong_value(
        "No password was provided. If you want to create/update the user without password, "
        "please use the NoPasswordRequired flag."
    )
