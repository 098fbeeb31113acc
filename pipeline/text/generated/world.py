"""The invented world that all generated text is about: the same for every seed."""

from dataclasses import dataclass
from functools import cache
from random import Random

from pipeline.text.generated import vocabulary as v

WORLD_SEED = 20241031
N_COUNTRIES = 40
CITIES_PER_COUNTRY = 3
N_PEOPLE = 120
N_MINERALS = 24
N_DISHES = 40


@dataclass(frozen=True)
class Country:
    name: str
    capital: str
    cities: tuple[str, ...]
    language: str
    currency: str
    region: str
    climate: str
    river: str
    mountain: str
    height_metres: int
    export: str
    second_export: str
    founded: int
    population_thousands: int


@dataclass(frozen=True)
class City:
    name: str
    country: Country
    founded: int
    population: int
    industry: str
    landmark: str


@dataclass(frozen=True)
class Person:
    name: str
    profession: str
    city: City
    born: int
    died: int
    work: str
    work_year: int


@dataclass(frozen=True)
class Animal:
    name: str
    country: Country
    habitat: str
    diet: str
    length_centimetres: int
    lifespan_years: int


@dataclass(frozen=True)
class Mineral:
    name: str
    colour: str
    hardness: int
    country: Country
    use: str


@dataclass(frozen=True)
class Dish:
    name: str
    country: Country
    ingredients: tuple[str, ...]
    minutes: int


@dataclass(frozen=True)
class World:
    countries: tuple[Country, ...]
    cities: tuple[City, ...]
    people: tuple[Person, ...]
    animals: tuple[Animal, ...]
    minerals: tuple[Mineral, ...]
    dishes: tuple[Dish, ...]


@cache
def world() -> World:
    """The one world; a few milliseconds at the first call."""
    random = Random(WORLD_SEED)
    taken: set[str] = set()
    countries = tuple(_country(random, taken) for _ in range(N_COUNTRIES))
    cities = tuple(_city(random, name, c) for c in countries for name in c.cities)
    animals = tuple(_animals(random, countries))
    minerals = tuple(_mineral(random, i, countries) for i in range(N_MINERALS))
    people = tuple(_person(random, i, cities, animals, minerals) for i in range(N_PEOPLE))
    dishes = tuple(_dish(random, i, countries) for i in range(N_DISHES))
    return World(countries, cities, people, animals, minerals, dishes)


def article(word: str) -> str:
    """The word with its indefinite article."""
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _place(random: Random, taken: set[str], ends: tuple[str, ...], middle: bool = False) -> str:
    while True:
        name = random.choice(v.PLACE_STARTS)
        name += random.choice(v.PLACE_MIDDLES) if middle else ""
        name += random.choice(ends)
        if name not in taken:
            taken.add(name)
            return name


def _country(random: Random, taken: set[str]) -> Country:
    name = _place(random, taken, v.COUNTRY_ENDS, middle=True)
    cities = tuple(_place(random, taken, v.CITY_ENDS) for _ in range(CITIES_PER_COUNTRY))
    export, second_export = random.sample(v.EXPORTS, 2)
    return Country(
        name=name,
        capital=cities[0],
        cities=cities,
        language=name.rstrip("aeiou") + "ish",
        currency=random.choice(v.CURRENCIES),
        region=random.choice(v.REGIONS),
        climate=random.choice(v.CLIMATES),
        river=_place(random, taken, v.RIVER_ENDS),
        mountain=_place(random, taken, v.MOUNTAIN_ENDS),
        height_metres=random.randrange(900, 5000, 10),
        export=export,
        second_export=second_export,
        founded=random.randrange(1200, 1900),
        population_thousands=random.randrange(300, 9000, 100),
    )


def _city(random: Random, name: str, country: Country) -> City:
    return City(
        name=name,
        country=country,
        founded=random.randrange(800, 1700),
        population=random.randrange(20_000, 900_000, 1000),
        industry=random.choice(v.INDUSTRIES),
        landmark=random.choice(v.LANDMARKS),
    )


def _person(
    random: Random,
    index: int,
    cities: tuple[City, ...],
    animals: tuple[Animal, ...],
    minerals: tuple[Mineral, ...],
) -> Person:
    # Coprime strides pair the names without a repeat.
    first = v.FIRST_NAMES[index * 7 % len(v.FIRST_NAMES)]
    last = v.LAST_NAMES[index * 11 % len(v.LAST_NAMES)]
    profession = v.PROFESSIONS[index % len(v.PROFESSIONS)]
    adjective, noun = random.choice(v.TITLE_ADJECTIVES), random.choice(v.TITLE_NOUNS)
    template = v.WORK_OF[profession]
    born = random.randrange(1700, 1900)
    return Person(
        name=f"{first} {last}",
        profession=profession,
        city=random.choice(cities),
        born=born,
        died=born + random.randrange(45, 90),
        work=template.format(
            adjective=adjective if '"' in template else adjective.lower(),
            noun=noun,
            animal=random.choice(animals).name,
            mineral=random.choice(minerals).name,
        ),
        work_year=born + random.randrange(20, 44),
    )


def _animals(random: Random, countries: tuple[Country, ...]) -> list[Animal]:
    return [
        Animal(
            name=f"{colour} {kind}",
            country=random.choice(countries),
            habitat=random.choice(v.HABITATS),
            diet=random.choice(v.DIETS),
            length_centimetres=random.randrange(10, 140, 5),
            lifespan_years=random.randrange(3, 40),
        )
        for kind in v.ANIMAL_KINDS
        for colour in random.sample(v.COLOURS, 3)
    ]


def _mineral(random: Random, index: int, countries: tuple[Country, ...]) -> Mineral:
    stem = v.MINERAL_STEMS[index % len(v.MINERAL_STEMS)]
    return Mineral(
        name=stem + ("ite", "ine")[index // len(v.MINERAL_STEMS)],
        colour=random.choice(v.COLOURS),
        hardness=random.randrange(1, 11),
        country=random.choice(countries),
        use=random.choice(v.MINERAL_USES),
    )


def _dish(random: Random, index: int, countries: tuple[Country, ...]) -> Dish:
    ingredients = tuple(random.sample(v.INGREDIENTS, 4))
    country = countries[index % len(countries)]
    kind = random.choice(v.DISH_KINDS)
    return Dish(
        name=f"{country.language} {ingredients[0].removesuffix('s')} {kind}",
        country=country,
        ingredients=ingredients,
        minutes=random.randrange(15, 120, 5),
    )
