"""An identity provider's tokens: those that it has signed for this service sign in, no forged one does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chat_api.access.jwks import JwksDoor
from chat_api.access.tokens import MAX_TOKEN_CHARACTERS
from chat_api.settings import Settings
from tests.conftest import Client, Start
from tests.support.auth_service import AuthService
from tests.support.keys import key_of
from tests.support.provider import AUDIENCE, Provider, private_key, public_jwk
from tests.support.queries import Connection
from tests.support.tab import open_tab, token_of

LIST = "/api/conversations"
SUBJECT = "0190aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as provider:
        yield provider


def settings_of(provider: Provider, **changes: Any) -> Settings:
    return Settings(
        _env_file=None,
        auth="jwks",
        auth_issuer=provider.issuer,
        **{"auth_audience": AUDIENCE, "admin_email": "root@chat.example", **changes},
    )


@pytest.fixture
async def door(provider: Provider) -> AsyncIterator[JwksDoor]:
    async with aiohttp.ClientSession() as session:
        door = JwksDoor(settings_of(provider), session)
        yield door
        await door.close()


async def test_a_token_signs_its_user_in(door: JwksDoor, provider: Provider) -> None:
    exp = int(time.time()) + 60
    principal = await door.ask(provider.sign(provider.claims(sub=SUBJECT, exp=exp)))
    assert principal is not None
    assert (principal.user_id, principal.is_admin) == (UUID(SUBJECT), False)
    assert principal.expires_at == exp + 30  # AUTH_LEEWAY
    assert principal.scopes == {"read", "chat", "admin"}
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]


ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_each_signature_is_checked_and_is_taken_only_if_allowed(algorithm: str) -> None:
    async with Provider(algorithm) as provider, aiohttp.ClientSession() as session:
        token = provider.sign(provider.claims())
        forged = provider.sign(provider.claims(), key=private_key(algorithm, 99))
        for allowed in ALGORITHMS:
            settings = settings_of(provider, auth_algorithms=f"{allowed},{ALGORITHMS[0]}")
            door = JwksDoor(settings, session)
            if algorithm in (allowed, ALGORITHMS[0]):
                assert await door.ask(token) is not None
                assert await door.ask(forged) is None
            else:
                assert await door.ask(token) is None
            await door.close()


@pytest.mark.parametrize(
    ("subject", "user_id"),
    [
        (SUBJECT, UUID(SUBJECT)),
        ("alice", None),
        ("auth0|507f1f77", None),
        (SUBJECT.upper(), None),  # another subject
        (SUBJECT.replace("-", ""), None),
        (f"{{{SUBJECT}}}", None),
        (f"urn:uuid:{SUBJECT}", None),
        ("日本", None),
    ],
)
async def test_a_subject_that_is_no_uuid_becomes_one(
    door: JwksDoor, provider: Provider, subject: str, user_id: UUID | None
) -> None:
    principal = await door.ask(provider.sign(provider.claims(sub=subject)))
    assert principal is not None
    expected = user_id or uuid5(uuid5(NAMESPACE_URL, provider.issuer), subject)
    assert principal.user_id == expected


@pytest.mark.parametrize(
    ("claims", "is_admin"),
    [
        ({"is_admin": True}, True),
        ({"is_admin": "true"}, False),
        ({"is_admin": 1}, False),
        ({"is_admin": [True]}, False),
        ({"is_admin": {"is_admin": True}}, False),
        ({"is_admin": False}, False),
        ({"admin": True}, False),
        ({"email": "root@chat.example", "email_verified": True}, True),
        ({"email": " Root@Chat.Example ", "email_verified": True}, True),
        ({"email": "root@chat.example"}, False),
        ({"email": "root@chat.example", "email_verified": "true"}, False),
        ({"email": "root@chat.example", "email_verified": 1}, False),
        ({"email": "root@chat.example", "email_verified": False}, False),
        ({"email": ["root@chat.example"], "email_verified": True}, False),
        ({"email": "root@chat.example.evil", "email_verified": True}, False),
        ({"email": "", "email_verified": True}, False),
    ],
)
async def test_only_true_makes_an_administrator_or_a_verified_address(
    door: JwksDoor, provider: Provider, claims: dict[str, Any], is_admin: bool
) -> None:
    principal = await door.ask(provider.sign(provider.claims(**claims)))
    assert principal is not None
    assert principal.is_admin is is_admin


async def test_without_admin_email_an_empty_address_is_nobodys(provider: Provider) -> None:
    async with aiohttp.ClientSession() as session:
        door = JwksDoor(settings_of(provider, admin_email=""), session)
        principal = await door.ask(provider.sign(provider.claims(email="", email_verified=True)))
        assert principal is not None
        assert principal.is_admin is False
        await door.close()


async def test_claims_may_have_other_names(provider: Provider) -> None:
    names = {
        "auth_id_claim": "oid",
        "auth_email_claim": "upn",
        "auth_admin_claim": "https://chat.example/admin",
    }
    async with aiohttp.ClientSession() as session:
        door = JwksDoor(settings_of(provider, **names), session)
        claims = {"oid": SUBJECT, "https://chat.example/admin": True}
        principal = await door.ask(provider.sign(provider.claims(**claims)))
        assert principal is not None
        assert (principal.user_id, principal.is_admin) == (UUID(SUBJECT), True)
        mail = {"oid": SUBJECT, "upn": "root@chat.example", "email_verified": True, "is_admin": True}
        principal = await door.ask(provider.sign(provider.claims(**mail)))
        assert principal is not None
        assert principal.is_admin is True
        assert await door.ask(provider.sign(provider.claims(is_admin=True))) is None, "no id"
        await door.close()


@pytest.mark.parametrize("aud", [AUDIENCE, [AUDIENCE], ["other", AUDIENCE], ["other", AUDIENCE, 7]])
async def test_a_token_may_be_for_others_too(door: JwksDoor, provider: Provider, aud: Any) -> None:
    assert await door.ask(provider.sign(provider.claims(aud=aud))) is not None


async def test_any_of_several_audiences_will_do(provider: Provider) -> None:
    async with aiohttp.ClientSession() as session:
        door = JwksDoor(settings_of(provider, auth_audience="web, cli"), session)
        for aud, is_good in (("web", True), ("cli", True), ("web, cli", False), (" cli", False)):
            assert (await door.ask(provider.sign(provider.claims(aud=aud))) is not None) is is_good
        await door.close()


@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"])
async def test_a_tokens_type_may_be_any_that_signs_in(
    door: JwksDoor, provider: Provider, typ: str | None
) -> None:
    assert await door.ask(provider.sign(provider.claims(), typ=typ)) is not None


async def test_a_token_without_a_key_id_is_taken_if_one_key_fits(door: JwksDoor, provider: Provider) -> None:
    token = provider.sign(provider.claims(), kid=None)
    assert "kid" not in jwt.get_unverified_header(token)
    provider.keys = [public_jwk("ES256", private_key("ES256"), "other"), provider.listed(0)]
    assert await door.ask(token) is not None


async def test_of_two_keys_that_fit_a_token_must_name_one(door: JwksDoor, provider: Provider) -> None:
    provider.keys = [provider.listed(0), provider.listed(1)]
    assert await door.ask(provider.sign(provider.claims(), kid=None)) is None
    assert await door.ask(provider.sign(provider.claims(), 1)) is not None


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def hmac_token(provider: Provider, secret: bytes, algorithm: str = "HS256") -> str:
    signed = f"{part({'alg': algorithm, 'kid': 'key-0'})}.{part(provider.claims())}"
    digest = getattr(hashlib, f"sha{algorithm[2:]}")
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), digest))}"


def public_pem(provider: Provider, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    return private_key(provider.algorithm).public_key().public_bytes(Encoding.PEM, form)


def unsigned(provider: Provider, header: dict[str, Any], signature: str = "") -> str:
    return f"{part(header)}.{part(provider.claims())}.{signature}"


def raw(
    provider: Provider, header: bytes | None = None, payload: bytes | None = None, key: Any = None
) -> str:
    """A token that the provider has really signed, over these very bytes."""
    head = part(header or json.dumps({"alg": "RS256", "kid": "key-0"}).encode())
    body = part(payload or json.dumps(provider.claims()).encode())
    algorithm = jwt.get_algorithm_by_name("RS256")
    return f"{head}.{body}.{part(algorithm.sign(f'{head}.{body}'.encode(), key or private_key('RS256')))}"


def evil(provider: Provider, **header: Any) -> str:
    """A token of another key, with a header that leads to it."""
    return provider.sign(provider.claims(), key=private_key("RS256", 99), **header)


EVIL_JWK = public_jwk("RS256", private_key("RS256", 99), "key-0")
NOW = time.time
Forge = Callable[[Provider], str]
FORGED: dict[str, Forge] = {
    "another key": evil,
    "HS256 with the public key": lambda p: hmac_token(p, public_pem(p)),
    "HS256 with the public key, no line end": lambda p: hmac_token(p, public_pem(p).strip()),
    "HS256 with the public key, PKCS1": lambda p: hmac_token(p, public_pem(p, PublicFormat.PKCS1)),
    "HS512 with the public key": lambda p: hmac_token(p, public_pem(p), "HS512"),
    "HS256 with the modulus": lambda p: hmac_token(p, p.listed(0)["n"].encode()),
    "HS256 with nothing": lambda p: hmac_token(p, b""),
    **{
        f"none as {name!r}, signature {signature!r}": lambda p, name=name, signature=signature: unsigned(
            p, {"alg": name, "kid": "key-0"}, signature
        )
        for name in ("none", "None", "NONE", "nOnE", "none ", "", None, 0, [], ["RS256"], {"RS256": 1})
        for signature in ("", "AAAA")
    },
    "no algorithm": lambda p: unsigned(p, {"kid": "key-0"}, "AAAA"),
    "the algorithm in small letters": lambda p: raw(p, b'{"alg":"rs256","kid":"key-0"}'),
    "another algorithm of the same key": lambda p: p.sign(p.claims(), algorithm="RS512"),
    "no signature": lambda p: p.sign(p.claims()).rpartition(".")[0] + ".",
    "no third part": lambda p: p.sign(p.claims()).rpartition(".")[0],
    "a fourth part": lambda p: p.sign(p.claims()) + ".AAAA",
    "a signature that is cut": lambda p: p.sign(p.claims())[:-8],
    "a signature of other claims": lambda p: ".".join(
        [p.sign(p.claims()).split(".")[0], part(p.claims(sub="root")), p.sign(p.claims()).split(".")[2]]
    ),
    "a key in the header": lambda p: evil(p, jwk=EVIL_JWK),
    "a key in the header, unnamed": lambda p: evil(p, jwk=EVIL_JWK, kid=None),
    "an address of keys in the header": lambda p: evil(p, jku=f"{p.url}/evil", kid="evil"),
    "an address of certificates": lambda p: evil(p, x5u=f"{p.url}/evil"),
    "a certificate in the header": lambda p: evil(p, x5c=["MIIB"]),
    "a key id that is a path": lambda p: evil(p, kid="../../../../dev/null"),
    "a key id that is an address": lambda p: evil(p, kid=f"{p.url}/evil"),
    "a key id that is SQL": lambda p: evil(p, kid="x' union select 'key-0"),
    "a key id without end": lambda p: evil(p, kid="k" * 5000),
    "a key id that is a list": lambda p: raw(p, b'{"alg":"RS256","kid":["key-0"]}'),
    "a key id that is a number": lambda p: raw(p, b'{"alg":"RS256","kid":0}'),
    "an empty key id": lambda p: evil(p, kid=""),
    "crit": lambda p: p.sign(p.claims(), crit=["exp"], exp=1),
    "crit, empty": lambda p: raw(p, b'{"alg":"RS256","kid":"key-0","crit":[]}'),
    "b64": lambda p: raw(p, b'{"alg":"RS256","kid":"key-0","b64":true}'),
    "a logout's type": lambda p: p.sign(p.claims(), typ="logout+jwt"),
    "a type that is a list": lambda p: raw(p, b'{"alg":"RS256","kid":"key-0","typ":["JWT"]}'),
    "expired": lambda p: p.sign(p.claims(exp=int(NOW()) - 31)),
    "expires at 0": lambda p: p.sign(p.claims(exp=0)),
    "expires before": lambda p: p.sign(p.claims(exp=-1)),
    "no expiry": lambda p: p.sign(p.claims(exp=None)),
    "an expiry in words": lambda p: raw(p, None, json.dumps(p.claims() | {"exp": "9999999999"}).encode()),
    "an expiry that is true": lambda p: raw(p, None, json.dumps(p.claims() | {"exp": True}).encode()),
    "an expiry without end": lambda p: raw(p, None, json.dumps(p.claims() | {"exp": 1e300}).encode()),
    "an expiry that is infinite": lambda p: raw(
        p, None, json.dumps(p.claims() | {"exp": float("inf")}).encode()
    ),
    "an expiry that is no number": lambda p: raw(
        p, None, json.dumps(p.claims() | {"exp": float("nan")}).encode()
    ),
    "an expiry of 4,000 digits": lambda p: raw(
        p, None, json.dumps(p.claims()).replace("}", f', "exp": {"9" * 4000}}}').encode()
    ),
    "not yet valid": lambda p: p.sign(p.claims(nbf=int(NOW()) + 60)),
    "a beginning that is a text": lambda p: raw(p, None, json.dumps(p.claims() | {"nbf": "0"}).encode()),
    "made in the future": lambda p: p.sign(p.claims(iat=int(NOW()) + 60)),
    "another audience": lambda p: p.sign(p.claims(aud="other")),
    "other audiences": lambda p: p.sign(p.claims(aud=["other", "chat2"])),
    "no audience": lambda p: p.sign(p.claims(aud=None)),
    "an empty audience": lambda p: p.sign(p.claims(aud=[])),
    "an audience that begins so": lambda p: p.sign(p.claims(aud=f"{AUDIENCE}-admin")),
    "an audience in capitals": lambda p: p.sign(p.claims(aud=AUDIENCE.upper())),
    "an audience within a list": lambda p: p.sign(p.claims(aud=[[AUDIENCE]])),
    "an audience that is an object": lambda p: p.sign(p.claims(aud={AUDIENCE: True})),
    "another issuer": lambda p: raw(p, None, json.dumps(p.claims(iss="https://evil.example")).encode()),
    "an issuer with a slash": lambda p: p.sign(p.claims(iss=f"{p.issuer}/")),
    "no issuer": lambda p: p.sign(p.claims(iss=None)),
    "issuers in a list": lambda p: raw(p, None, json.dumps(p.claims(iss=[p.issuer])).encode()),
    "no subject": lambda p: p.sign(p.claims(sub=None)),
    "an empty subject": lambda p: p.sign(p.claims(sub="")),
    "a subject of two lines": lambda p: p.sign(p.claims(sub="a\nb")),
    "a subject without end": lambda p: p.sign(p.claims(sub="a" * 256)),
    "a subject that is a number": lambda p: raw(p, None, json.dumps(p.claims(sub=7)).encode()),
    "a subject that is half a character": lambda p: raw(p, None, json.dumps(p.claims(sub="\ud800")).encode()),
    "a claim twice": lambda p: raw(p, None, json.dumps(p.claims()).replace("}", ', "sub": "root"}').encode()),
    "a claim twice, hidden": lambda p: raw(
        p, None, json.dumps(p.claims()).replace("}", ', "\\u0073ub": "root"}').encode()
    ),
    "the algorithm twice": lambda p: raw(p, b'{"alg":"none","alg":"RS256","kid":"key-0"}'),
    "claims that are a list": lambda p: raw(p, None, b"[]"),
    "claims that are no JSON": lambda p: raw(p, None, b"{"),
    "claims that are no text": lambda p: raw(p, None, b"\xff\xfe"),
    "claims that are deep": lambda p: raw(p, None, b"[" * 5000),
    "a header that is a text": lambda p: raw(p, b'"RS256"'),
    "a header that is deep": lambda p: raw(p, b'{"a":' * 1000),
    "an encrypted token's five parts": lambda p: ".".join([part({"alg": "RSA-OAEP", "enc": "A128GCM"})] * 5),
    "JSON serialization": lambda p: json.dumps({"payload": part(p.claims()), "signatures": []}),
    "dots alone": lambda p: "..",
    "other characters": lambda p: p.sign(p.claims()).replace(".", ".=", 1),
}


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token_signs_nobody_in(door: JwksDoor, provider: Provider, name: str) -> None:
    forged = FORGED[name](provider)
    assert await door.ask(forged) is None
    for good in (provider.sign(provider.claims()), raw(provider)):
        assert await door.ask(good) is not None, "a good one still does"
    assert set(provider.asked) <= {"/.well-known/openid-configuration", "/keys"}, "and nothing else is asked"


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("ES256", "ES384"),  # the curve is another one
        ("ES384", "ES256"),
        ("ES256", "RS256"),
        ("RS256", "ES256"),
        ("EdDSA", "RS256"),
        ("RS256", "EdDSA"),
        ("PS256", "RS256"),  # the key says what it is for
    ],
)
async def test_a_key_checks_only_what_it_is_for(algorithm: str, key: str) -> None:
    """A token with one algorithm's name, signed by a key of another one that the provider lists."""
    async with Provider(key) as provider, aiohttp.ClientSession() as session:
        door = JwksDoor(settings_of(provider, auth_algorithms=",".join(ALGORITHMS)), session)
        head = part({"alg": algorithm, "kid": "key-0"})
        signed = f"{head}.{part(provider.claims())}"
        signature = jwt.get_algorithm_by_name(key).sign(signed.encode(), private_key(key))
        assert await door.ask(f"{signed}.{part(signature)}") is None
        assert await door.ask(provider.sign(provider.claims())) is not None
        await door.close()


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": part(b"0" * 32), "kid": "key-0", "alg": "HS256"},
        {"kty": "oct", "k": part(b"0" * 32), "kid": "key-0", "alg": "RS256"},
        public_jwk("RS256", private_key("RS256"), "key-0", use="enc"),
        public_jwk("RS256", private_key("RS256"), "key-0", key_ops=["encrypt"]),
        public_jwk("RS256", private_key("RS256"), "key-0", alg="RSA-OAEP"),
        public_jwk("RS256", private_key("RS256"), "key-0", kty="EC"),
        public_jwk("RS256", private_key("RS256"), "key-0", crv="P-256"),
        public_jwk("RS256", private_key("RS256"), "key-0", n="AQAB"),
        public_jwk("RS256", private_key("RS256"), "key-0", n=7),
        jwt.get_algorithm_by_name("RS256").to_jwk(private_key("RS256"), as_dict=True) | {"kid": "key-0"},
        public_jwk("RS256", private_key("RS256", 0, 1024), "key-0"),
        "key-0",
    ],
)
async def test_a_key_that_is_not_for_signatures_checks_none(
    door: JwksDoor, provider: Provider, key: Any
) -> None:
    provider.keys = [key, provider.listed(1)]
    bits = 1024 if isinstance(key, dict) and len(str(key.get("n", ""))) == 171 else 2048
    assert await door.ask(raw(provider, key=private_key("RS256", 0, bits))) is None
    assert await door.ask(hmac_token(provider, b"0" * 32)) is None
    assert await door.ask(provider.sign(provider.claims(), 1)) is not None


@pytest.mark.parametrize(("seconds", "is_good"), [(-29, True), (-31, False)])
async def test_clocks_may_differ_by_the_leeway_and_no_more(
    door: JwksDoor, provider: Provider, monkeypatch: pytest.MonkeyPatch, seconds: int, is_good: bool
) -> None:
    now = int(time.time())
    monkeypatch.setattr(door, "_now", lambda: now)
    assert (await door.ask(provider.sign(provider.claims(exp=now + seconds))) is not None) is is_good
    assert (await door.ask(provider.sign(provider.claims(nbf=now - seconds))) is not None) is is_good


class TestService:
    """The service as a whole."""

    @pytest.fixture
    async def client(self, start: Start, settings: Settings, provider: Provider) -> Client:
        changes = {"auth": "keys,jwks,service", "auth_issuer": provider.issuer, "auth_audience": AUDIENCE}
        started: Client = await start(settings.model_copy(update=changes))
        return started

    async def test_who_signs_in_has_conversations(self, client: Client, provider: Provider) -> None:
        async with client.post(LIST, headers=provider.sign_in(sub=SUBJECT)) as response:
            assert (response.status, (await response.json())["user_id"]) == (201, SUBJECT)

    async def test_each_token_is_shown_to_its_own_door_alone(
        self, client: Client, provider: Provider, auth: AuthService, sql: Connection
    ) -> None:
        for headers in (provider.sign_in(), await key_of(sql), auth.sign_in()):
            assert (await client.get(LIST, headers=headers)).status == 200
        assert len(auth.calls) == 1
        await client.get(LIST, headers=provider.sign_in(aud="other"))
        assert len(auth.calls) == 1, "a bad token of the provider is still the provider's"
        theirs = jwt.encode({"iss": "https://auth.example"}, "0" * 32, algorithm="HS256")
        await client.get(LIST, headers={"Authorization": f"Bearer {theirs}"})
        assert auth.calls[1:] == [theirs], "the auth service's own tokens may be signed, too"

    async def test_a_refused_token_is_401_and_counts_as_a_failure(
        self, start: Start, settings: Settings, provider: Provider
    ) -> None:
        changes = {"auth": "jwks", "auth_issuer": provider.issuer, "auth_audience": AUDIENCE}
        client = await start(
            settings.model_copy(update={**changes, "sign_in_failures_per_address": "2/hour"})
        )
        where = {"X-Forwarded-For": "203.0.113.7"}
        for number, status in enumerate((401, 401, 429)):
            user = provider.sign_in(aud=f"other-{number}")
            assert (await client.get(LIST, headers={**user, **where})).status == status

    async def test_a_token_is_checked_once_for_many_requests(
        self, client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        ask = JwksDoor.ask

        async def counted(door: JwksDoor, token: str) -> Any:
            asked.append(token)
            return await ask(door, token)

        monkeypatch.setattr(JwksDoor, "ask", counted)
        user = provider.sign_in()
        for _ in range(5):
            assert (await client.get(LIST, headers=user)).status == 200
        assert len(asked) == 1

    async def test_a_huge_token_is_refused_unread(self, client: Client, provider: Provider) -> None:
        huge = token_of(provider.sign_in(more="x" * MAX_TOKEN_CHARACTERS))
        async with open_tab(client) as tab:
            await tab.say("auth", token=huge)
            assert await tab.close_code() == 4401
        assert provider.asked == []

    async def test_a_socket_takes_a_token_in_a_frame_and_ends_with_it(
        self, client: Client, provider: Provider
    ) -> None:
        async with open_tab(client, provider.sign_in()) as tab:
            # exp and the leeway of 30 s: 2 s from now.
            soon = provider.sign_in(exp=int(time.time()) - 28)
            assert (await tab.ask("auth", token=token_of(soon)))["type"] == "ready"
            assert await tab.close_code() == 4401
