"""One request's way through budget and handler, for REST and the trade stream alike: an envelope comes out, whatever happens."""

from __future__ import annotations

from typing import Any

from keel.sim.sandbox.account.simulated_account import SimulatedAccount
from keel.sim.sandbox.engine import Engine
from keel.sim.sandbox.http.call import Call
from keel.sim.sandbox.http.errors import NOT_ON_DEMO, TOO_MANY, ApiError
from keel.sim.sandbox.http.paging import listing
from keel.sim.sandbox.http.parameters import CATEGORIES, Params, text
from keel.sim.sandbox.http.request_limits import Budget, Budgets
from keel.sim.sandbox.http.routes import CANCEL_ALL, LISTS, ROUTES, TICKERS, UNUSED_CATEGORIES, Route
from keel.sim.sandbox.ws.public_hub import PublicHub


class Gateway:
    """Applies requests. ``lag_ms``: how far lists are behind; ``skew_ms``: how far the clock is off, both by faults."""

    def __init__(self, engine: Engine, hub: PublicHub) -> None:
        self.engine, self._hub = engine, hub
        self.budgets = Budgets(engine.settings.limit_factor, engine.settings.ban_ms)
        self.lag_ms = engine.settings.rest_lag_ms
        self.skew_ms = 0
        self._requests = 0

    def wall_ms(self) -> int:
        """The server's clock."""
        return self.engine.wall_ms() + self.skew_ms

    def set_lag(self, lag_ms: int) -> None:
        """From now on lists are so far behind."""
        self.lag_ms = lag_ms
        for account in self.engine.accounts.values():
            account.keeps_versions = lag_ms > 0

    def apply(
        self, route: Route, name: str, params: Params, account: SimulatedAccount | None, now: int
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """(envelope, headers) of one request that was let in. now: the server's clock, ms."""
        if account is None:
            return self._run(route, name, Call(self.engine, params, now, updates=self._updates(params))), {}
        budget = self._budget(route, name, params, account)
        items = params.get("request")
        count = len(items) if route.is_order and isinstance(items, list) else 1
        granted = budget.take(count, now)
        headers = self._headers(budget, now, is_exceeded=granted == 0)
        if not granted:
            return self.refused(ApiError(*TOO_MANY), now), headers
        if self.engine.settings.profile == "demo" and not route.on_demo:
            return self.refused(ApiError(*NOT_ON_DEMO), now), headers
        if account.settings.read_only and ("POST", name) in ROUTES:
            return self.refused(ApiError(10005, "Permission denied, please check your API key permissions."), now), headers
        call = Call(self.engine, params, now, self.lag_ms, granted, account)
        return self._run(route, name, call), headers

    def _run(self, route: Route, name: str, call: Call) -> dict[str, Any]:
        wanted = text(call.params, "category")
        if wanted in UNUSED_CATEGORIES and name in LISTS:  # an account that has nothing there: an empty list, never a refusal
            return self.envelope(call.wall_ms, 0, route.message, _nothing(name, wanted))
        try:
            result = route.handler(call)
        except ApiError as error:
            return self.refused(error, call.wall_ms)
        return self.envelope(call.wall_ms, 0, route.message, result, call.extension)

    def _updates(self, params: Params) -> dict[str, int]:
        return {
            market.name: self._hub.update_of(market) for market in self.engine.markets.values() if market.symbol == params.get("symbol")
        }

    def _budget(self, route: Route, name: str, params: Params, account: SimulatedAccount) -> Budget:
        category = text(params, "category")
        category = category if category in CATEGORIES else ""
        limit = route.spot if category == "spot" and route.spot else route.limit
        return self.budgets.of(account.uid, name, category, limit, route.window_ms)

    def _headers(self, budget: Budget, now: int, *, is_exceeded: bool) -> dict[str, str]:
        """The rate headers of an answer; the reset stamp lies in the future when the budget is spent."""
        self._requests += 1
        time = str(now)
        return {
            "X-Bapi-Limit": str(budget.limit), "X-Bapi-Limit-Status": str(budget.left(now)),
            "X-Bapi-Limit-Reset-Timestamp": str(max(budget.reset_ms(now), now + 1)) if is_exceeded else time,
            "Traceid": f"{self._requests:032x}", "Timenow": time,
        }  # fmt: skip

    @staticmethod
    def envelope(now: int, code: int, message: str, result: dict[str, Any], extension: dict[str, Any] | None = None) -> dict[str, Any]:
        """The shape of every answer."""
        return {"retCode": code, "retMsg": message, "result": result, "retExtInfo": extension or {}, "time": now}

    def refused(self, error: ApiError, now: int) -> dict[str, Any]:
        """A refusal."""
        return self.envelope(now, error.code, error.text, error.result or {})


def _nothing(name: str, category: str) -> dict[str, Any]:
    """An empty list, in the shape of its endpoint."""
    if name == CANCEL_ALL:
        return {"list": [], "success": "1"}
    return {"category": category, "list": []} if name == TICKERS else listing(category, [], "")
