"""Metrics as a scraper reads them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

SCRAPES_SECONDS = 60.0


class Scrape:
    """The samples of one scrape, looked up by name and labels."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    @classmethod
    async def of(cls, url: str, key: str = "") -> "Scrape":
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient() as http:
            response = await http.get(f"{url}/metrics", headers=headers)
        assert response.status_code == 200, response.text
        return cls(response.text)

    def values(self, name: str, **labels: str) -> Iterator[float]:
        wanted = labels.items()
        return (
            sample.value
            for sample in self._samples
            if sample.name == name and wanted <= sample.labels.items()
        )

    def sum(self, name: str, **labels: str) -> float:
        """Returns the sum over all series with these labels. Fails if there is none."""
        found = list(self.values(name, **labels))
        assert found, f"no series {name} {labels}"
        return sum(found)

    def series(self) -> set[str]:
        return {sample.name for sample in self._samples}

    def label_values(self) -> set[str]:
        return {value for sample in self._samples for value in sample.labels.values()}


class Prometheus:
    """A running Prometheus, for queries."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def get(self, what: str, **parameters: str) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=self._url, trust_env=False) as http:
            response = await http.get(f"/api/v1/{what}", params=parameters)
        assert response.status_code == 200, (parameters, response.text)
        data: dict[str, Any] = response.json()["data"]
        return data

    async def query(self, text: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.get("query", query=text))["result"]
        return [one for one in found if one["value"][1] != "NaN"]

    async def until(self, text: str) -> None:
        """Waits until the query has data."""
        async with asyncio.timeout(SCRAPES_SECONDS):
            while not await self._answers(text):
                await asyncio.sleep(0.2)

    async def _answers(self, text: str) -> bool:
        try:
            return bool(await self.query(text))
        except httpx.TransportError:
            return False
