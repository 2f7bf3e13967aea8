"""Metrics as a scraper sees them."""

from collections.abc import Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The samples of one scrape, to be asked for by name and labels."""

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
        """Of all series that have these labels. Fails if there is none."""
        found = list(self.values(name, **labels))
        assert found, f"no series {name} {labels}"
        return sum(found)

    def series(self) -> set[str]:
        return {sample.name for sample in self._samples}

    def label_values(self) -> set[str]:
        return {value for sample in self._samples for value in sample.labels.values()}
