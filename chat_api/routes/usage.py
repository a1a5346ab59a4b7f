"""What the caller has used, and what is left of each budget."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Literal

from aiohttp import web
from pydantic import Field, model_validator

from chat_api.bodies import Body, ResponseBody
from chat_api.description import declare
from chat_api.description.declare import Operation, Response, describe
from chat_api.http.context import DATABASE, PRINCIPAL
from chat_api.http.requests import read_query, respond

routes = web.RouteTableDef()

MOST_DAYS = 366


class UsageQuery(Body):
    __doc__ = f"Which days, in UTC: {MOST_DAYS} at most."

    from_: date | None = Field(
        None, alias="from", description="the first day; that of the last day's month, unless you give it"
    )
    to: date | None = Field(None, description="the last day; today, unless you give it")

    @model_validator(mode="after")
    def _require_order(self) -> UsageQuery:
        last = datetime.now(UTC).date() if self.to is None else self.to
        if self.from_ is not None and self.to is not None and last < self.from_:
            raise ValueError("from must not be after to")
        if self.from_ is not None and (last - self.from_).days >= MOST_DAYS:
            raise ValueError(f"from and to must be within {MOST_DAYS} days")
        return self


class UsedOnDay(ResponseBody):
    __doc__ = "What was used of a model on a day."

    day: date = Field(examples=["2026-11-24"])
    model: str = Field(examples=["default"])
    answers: int = Field(description="without those that failed before a word was said", examples=[12])
    prompt_tokens: int = Field(examples=[3400])
    cached_tokens: int = Field(description="those of the prompts that the server had computed before")
    reasoning_tokens: int = Field(description="those of the completions that are thinking")
    completion_tokens: int = Field(examples=[1800])
    is_estimated: bool = Field(description="whether the model server didn't count all of it")
    cost: float | None = Field(description="null: the model has no price", examples=[0.0123])
    currency: str | None = Field(examples=["EUR"])


class BudgetState(ResponseBody):
    __doc__ = "A budget that the caller's answers are held against."

    scope: Literal["everybody", "each", "user"] = Field(
        description="everybody: all users share it; each: every user has one like it; user: the caller's own"
    )
    model: str | None = Field(description="null: all models together", examples=[None])
    period: Literal["day", "week", "month"] = Field(description="in UTC; a week begins on Monday")
    unit: Literal["tokens", "cost", "answers"]
    currency: str | None = Field(description="of a cost", examples=["EUR"])
    amount: float = Field(examples=[100000])
    spent: float = Field(examples=[5200])
    reserved: float = Field(description="what answers may use that are being written", examples=[0])
    left: float = Field(examples=[94800])
    begins_anew: datetime = Field(examples=["2026-12-01T00:00:00Z"])
    seconds: int = Field(description="until then", examples=[518400])


class UsageReport(ResponseBody):
    __doc__ = "What the caller has used."

    from_: date = Field(alias="from", examples=["2026-11-01"])
    to: date = Field(examples=["2026-11-24"])
    days: list[UsedOnDay]
    budgets: list[BudgetState]


@routes.get("/api/usage")
@describe(
    Operation(
        "Read what was used",
        "Usage",
        [Response(200, "By day and model, oldest first, with what is left of each budget.", UsageReport)],
        "The tokens, answers and cost of the caller. What was used stays when conversations are deleted.",
        errors=declare.DATABASE,
        query=UsageQuery,
    )
)
async def usage(request: web.Request) -> web.Response:
    query = read_query(request, UsageQuery)
    row = await request.app[DATABASE].row(
        "usage.of_user", user_id=request[PRINCIPAL].user_id, first_day=query.from_, last_day=query.to
    )
    assert row is not None  # noqa: S101 - it is one row, whoever asks
    return respond(
        f'{{"from":"{row["first_day"]}","to":"{row["last_day"]}","days":{row["days"]},'
        f'"budgets":{row["budgets"]}}}'
    )
