"""The settings of signing in: which ways there are, and what each of them needs (docs/sign-in.md)."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo

from chat_api.settings.neighbours import NeighbourSettings
from chat_api.settings.types import EmailAddress, RateText, Seconds, http_url, split_names

WAYS = ("keys", "jwks", "service", "header")
"""The ways to sign in, in the order in which they are tried."""
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""The signatures that may be allowed. None is a shared secret's: a provider's key is public."""


def _ways(value: str) -> str:
    given = split_names(value)
    if not given or set(given) - set(WAYS) or len(set(given)) < len(given):
        raise ValueError(f"must be one or more of {', '.join(sorted(WAYS))}, separated by commas")
    return ",".join(given)


def _algorithms(value: str) -> str:
    given = split_names(value)
    if not given or set(given) - set(ALGORITHMS):
        raise ValueError(f"must be one or more of {', '.join(ALGORITHMS)}, separated by commas")
    return ",".join(given)


def _provider_url(value: str) -> str:
    if value:
        http_url(value)
        url = urlsplit(value)
        if url.fragment or "@" in url.netloc:
            raise ValueError("must have no fragment, no user and no password")
    return value  # as it is: an issuer is compared letter by letter, with a slash at its end


def _issuer(value: str, info: ValidationInfo) -> str:
    if not value and "jwks" in split_names(info.data.get("auth", "")):
        raise ValueError("must be the issuer in the provider's tokens (`iss`), since AUTH names jwks")
    if "?" in value:
        raise ValueError("must have no query")
    return _provider_url(value)


def _audience(value: str, info: ValidationInfo) -> str:
    if not split_names(value) and "jwks" in split_names(info.data.get("auth", "")):
        raise ValueError(
            "must name this service in the provider's tokens (`aud`), since AUTH names jwks: otherwise "
            "tokens for any other service would sign in here"
        )
    return value


def _header_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", value, re.ASCII):
        raise ValueError(
            "must be a header's name such as X-Auth-Request-User, of letters, digits and hyphens"
        )
    if value.lower() in ("authorization", "cookie", "host", "origin"):
        raise ValueError("must be a header that only the proxy sets")
    return value


HeaderName = Annotated[str, AfterValidator(_header_name)]
ClaimName = Annotated[str, Field(min_length=1, max_length=200)]


class SignInSettings(NeighbourSettings):
    """The second part of the settings, see Settings."""

    auth: Annotated[str, AfterValidator(_ways)] = Field(
        "service",
        description="who is believed about who is asking, see docs/sign-in.md: one or more of `service` (the "
        "auth service), `jwks` (an identity provider's tokens, checked here), `header` (a proxy) and `keys` "
        "(API keys), comma-separated",
    )
    auth_issuer: Annotated[str, AfterValidator(_issuer)] = Field(
        "",
        validate_default=True,
        description="the provider's address as its tokens have it (`iss`), to the letter (`jwks`); ids that "
        "are no UUIDs are made of it, with `header` too",
    )
    auth_jwks_url: Annotated[str, AfterValidator(_provider_url)] = Field(
        "", description="where the provider's keys are (`jwks`); empty: where its discovery says"
    )
    auth_audience: Annotated[str, AfterValidator(_audience)] = Field(
        "",
        validate_default=True,
        description="what tokens must be made for (`aud`); several, comma-separated: any of them (`jwks`)",
    )
    auth_algorithms: Annotated[str, AfterValidator(_algorithms)] = Field(
        "RS256,ES256,EdDSA", description="signatures that are accepted (`jwks`)"
    )
    auth_leeway: float = Field(
        30, ge=0, le=300, description="seconds by which the provider's clock may differ (`jwks`)"
    )
    auth_id_claim: ClaimName = Field("sub", description="claim that says who the user is (`jwks`)")
    auth_email_claim: ClaimName = Field(
        "email", description="claim with the e-mail address, believed where `email_verified` is true (`jwks`)"
    )
    auth_admin_claim: ClaimName = Field(
        "is_admin", description="claim that makes an administrator if it is true (`jwks`)"
    )
    auth_user_header: HeaderName = Field(
        "X-Auth-Request-User",
        description="header in which a proxy of `TRUSTED_PROXIES` says who the user is (`header`)",
    )
    auth_email_header: HeaderName = Field(
        "X-Auth-Request-Email", description="header with the e-mail address, for `ADMIN_EMAIL` (`header`)"
    )
    auth_timeout: Seconds = Field(
        5, description="seconds for a call to the auth service, or to the identity provider"
    )
    auth_cache_seconds: Seconds = Field(
        300,
        description="seconds for which a valid token is believed (never past its expiry); an API key for 60 "
        "at most",
    )
    auth_negative_cache_seconds: Seconds = Field(
        5, description="seconds for which a refused token is refused without asking again"
    )
    auth_cache_size: int = Field(
        10_000, ge=1, le=1_000_000, description="maximum number of remembered tokens"
    )
    sign_in_failures_per_address: RateText = Field(
        "0",
        description="tokens from one IP address that may be refused before unknown tokens from "
        "there are no longer checked for a while; each worker counts; set `TRUSTED_PROXIES` first",
    )
    admin_email: EmailAddress = Field("", description="e-mail address of an administrator; empty: nobody's")
    expired_streams: Literal["finish", "cut"] = Field(
        "finish",
        description="what happens to a stream whose token expires: `finish` goes on to the answer's end, "
        "`cut` ends it with an `error` event",
    )

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways to sign in that are on, in the order in which they are tried."""
        return tuple(way for way in WAYS if way in split_names(self.auth))

    @property
    def algorithms(self) -> frozenset[str]:
        """The signatures that are accepted."""
        return frozenset(split_names(self.auth_algorithms))

    @property
    def audiences(self) -> frozenset[str]:
        """What tokens may be made for."""
        return frozenset(split_names(self.auth_audience))

    @property
    def issuer(self) -> str:
        """Whose subjects the users are: of the provider, or of a proxy that doesn't say whose."""
        return self.auth_issuer or "proxy"
