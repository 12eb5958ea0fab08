"""Write the demo's datasets: small, ours, and hard enough for a small model to fail at some.

Run `python examples/datasets/make.py`; the files beside it are its output, kept so that nobody has to.
"""

import json
import random
from pathlib import Path

HERE = Path(__file__).parent
_ROWS = 64
_SEED = 20261123

_CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "Austria": "Vienna", "Belgium": "Brussels", "Greece": "Athens", "Ireland": "Dublin", "Poland": "Warsaw",
    "Hungary": "Budapest", "Sweden": "Stockholm", "Norway": "Oslo", "Denmark": "Copenhagen",
    "Finland": "Helsinki", "Russia": "Moscow", "Ukraine": "Kyiv", "Romania": "Bucharest",
    "Bulgaria": "Sofia", "Croatia": "Zagreb", "Serbia": "Belgrade", "Slovakia": "Bratislava",
    "Slovenia": "Ljubljana", "Estonia": "Tallinn", "Latvia": "Riga", "Lithuania": "Vilnius",
    "Switzerland": "Bern", "Netherlands": "Amsterdam", "Iceland": "Reykjavik", "Turkey": "Ankara",
    "Egypt": "Cairo", "Morocco": "Rabat", "Kenya": "Nairobi", "Nigeria": "Abuja", "Ghana": "Accra",
    "Ethiopia": "Addis Ababa", "Senegal": "Dakar", "Tunisia": "Tunis", "Algeria": "Algiers",
    "Angola": "Luanda", "Japan": "Tokyo", "China": "Beijing", "India": "New Delhi", "Nepal": "Kathmandu",
    "Thailand": "Bangkok", "Vietnam": "Hanoi", "Indonesia": "Jakarta", "Malaysia": "Kuala Lumpur",
    "Philippines": "Manila", "Mongolia": "Ulaanbaatar", "Pakistan": "Islamabad", "Iran": "Tehran",
    "Iraq": "Baghdad", "Syria": "Damascus", "Lebanon": "Beirut", "Canada": "Ottawa", "Mexico": "Mexico City",
    "Cuba": "Havana", "Peru": "Lima", "Chile": "Santiago", "Argentina": "Buenos Aires",
    "Brazil": "Brasilia", "Colombia": "Bogota", "Australia": "Canberra",
}  # fmt: skip
_NAMES = ("Ann", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo")
_THINGS = ("apples", "books", "coins", "stamps", "marbles", "pencils", "shells", "cards")
_COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "grey")
_PLACES = ("garden", "kitchen", "garage", "cellar", "attic", "office", "hall", "barn")

Row = dict[str, str]


def capitals() -> list[Row]:
    """Knowledge: the capital of a country. The answer is to appear in the reply."""
    return [
        {"question": f"What is the capital of {country}?", "answer": city}
        for country, city in _CAPITALS.items()
    ]


def sums(chance: random.Random) -> list[Row]:
    """Arithmetic in words, one step, as in GSM8K. The last number of the reply counts."""
    rows = []
    for _ in range(_ROWS):
        name, thing = chance.choice(_NAMES), chance.choice(_THINGS)
        has, more = chance.randint(2, 20), chance.randint(2, 20)
        question = f"{name} has {has} {thing} and gets {more} more. How many {thing} does {name} have now?"
        rows.append({"question": question, "answer": str(has + more)})
    return rows


def reading(chance: random.Random) -> list[Row]:
    """Reading: where a thing of a certain colour is. The answer is to appear in the reply."""
    rows = []
    for _ in range(_ROWS):
        colours, places = chance.sample(_COLOURS, 3), chance.sample(_PLACES, 3)
        facts = " ".join(
            f"The {colour} box is in the {place}." for colour, place in zip(colours, places, strict=True)
        )
        asked = chance.randrange(3)
        question = f"{facts} Where is the {colours[asked]} box?"
        rows.append({"question": question, "answer": places[asked]})
    return rows


def main() -> None:
    """Write all files."""
    chance = random.Random(_SEED)  # noqa: S311 - the same rows each time
    for name, rows in (("capitals", capitals()), ("sums", sums(chance)), ("reading", reading(chance))):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (HERE / f"{name}.jsonl").write_text(text)


if __name__ == "__main__":
    main()
