"""Pile-like documents in twelve genres, each with the structure of its kind."""

from collections.abc import Callable, Collection, Mapping
from random import Random

from pipeline.text.generated import vocabulary as v
from pipeline.text.generated.world import (
    Animal,
    City,
    Country,
    Mineral,
    Person,
    World,
    article,
    world,
)


def write_document(random: Random, kinds: Collection[str] | None = None) -> str:
    """One document of about 40 to 400 words. kinds: names of GENRES to draw from, or all."""
    genres = [genre for genre in GENRES if kinds is None or genre.__name__ in kinds]
    (genre,) = random.choices(genres, [GENRES[genre] for genre in genres])
    return genre(random, world())


def encyclopaedia(random: Random, w: World) -> str:
    kind = random.randrange(5)
    if kind == 0:
        return _country_entry(random, random.choice(w.countries))
    if kind == 1:
        return _city_entry(random, random.choice(w.cities), w)
    if kind == 2:
        return _person_entry(random, random.choice(w.people))
    if kind == 3:
        return _animal_entry(random, random.choice(w.animals))
    return _mineral_entry(random, random.choice(w.minerals))


def _assemble(random: Random, title: str, lead: str, facts: list[str]) -> str:
    random.shuffle(facts)
    kept = facts[: random.randrange(max(2, len(facts) - 2), len(facts) + 1)]
    half = (len(kept) + 1) // 2
    return f"{title}\n\n{lead} {' '.join(kept[:half])}\n\n{' '.join(kept[half:])}\n"


def _country_entry(random: Random, c: Country) -> str:
    lead = random.choice(
        (
            f"{c.name} is a country in the {c.region} of the continent.",
            f"{c.name} is a country whose capital is {c.capital}.",
        )
    )
    facts = [
        f"The capital of {c.name} is {c.capital}.",
        f"The largest cities are {c.cities[0]}, {c.cities[1]} and {c.cities[2]}.",
        f"The official language is {c.language}, and the currency is the {c.currency}.",
        f"The country was founded in {c.founded}.",
        f"Its climate is {c.climate}.",
        f"The longest river of {c.name} is the {c.river}.",
        f"The highest mountain, {c.mountain}, rises to {c.height_metres} metres.",
        f"The main export of {c.name} is {c.export}, followed by {c.second_export}.",
        f"About {c.population_thousands} thousand people live in {c.name}.",
    ]
    return _assemble(random, c.name, lead, facts)


def _city_entry(random: Random, c: City, w: World) -> str:
    natives = [p for p in w.people if p.city is c]
    lead = f"{c.name} is a city in {c.country.name}, founded in {c.founded}."
    facts = [
        f"It has a population of {c.population}.",
        f"The city is known for its {c.industry} and for the {c.landmark}.",
        f"Most people in {c.name} speak {c.country.language}.",
        f"The {c.landmark} was built in {c.founded + random.randrange(50, 300)}.",
        f"The river {c.country.river} flows through the region.",
        f"Trains connect {c.name} with {c.country.capital}."
        if c.name != c.country.capital
        else f"{c.name} is the capital of {c.country.name}.",
    ]
    facts += [f"The {p.profession} {p.name} was born in {c.name} in {p.born}." for p in natives]
    return _assemble(random, c.name, lead, facts)


def _person_entry(random: Random, p: Person) -> str:
    lead = f"{p.name} ({p.born} - {p.died}) was {article(p.profession)} from {p.city.country.name}."
    facts = [
        f"{p.name} was born in {p.city.name} in {p.born}.",
        f"The {p.profession} is best known for the {p.work}.",
        f"The {p.work} dates from {p.work_year}.",
        f"{p.name} died in {p.died}, at the age of {p.died - p.born}.",
        f"A street in {p.city.name} is named after the {p.profession}.",
        f"{p.name.split()[1]} studied in {p.city.country.capital}.",
    ]
    return _assemble(random, p.name, lead, facts)


def _animal_entry(random: Random, a: Animal) -> str:
    name = f"The {a.name}"
    lead = f"{name} is an animal that lives in the {a.habitat} of {a.country.name}."
    facts = [
        f"It feeds on {a.diet}.",
        f"An adult is about {a.length_centimetres} centimetres long.",
        f"{name} can live for up to {a.lifespan_years} years.",
        f"It is most active at {random.choice(('dawn', 'dusk', 'night'))}.",
        f"{name} is protected by law in {a.country.name}.",
        f"In winter it stays in the {a.habitat}.",
    ]
    return _assemble(random, name, lead, facts)


def _mineral_entry(random: Random, m: Mineral) -> str:
    name = m.name.capitalize()
    lead = f"{name} is {article(m.colour)} mineral with a hardness of {m.hardness}."
    facts = [
        f"It is found mainly in {m.country.name}.",
        f"{name} is used for {m.use}.",
        f"The mines near {m.country.mountain} have produced {m.name} since {m.country.founded}.",
        f"Pure {m.name} is {m.colour}; impurities make it {random.choice(v.COLOURS)}.",
        f"Its hardness is {m.hardness} on a scale of ten.",
    ]
    return _assemble(random, name, lead, facts)


def story(random: Random, w: World) -> str:
    name, friend = random.sample(v.FIRST_NAMES, 2)
    role, trait, thing = (
        random.choice(x) for x in (v.STORY_ROLES, v.STORY_TRAITS, v.STORY_OBJECTS)
    )
    place, city = random.choice(v.STORY_PLACES), random.choice(w.cities)
    short = thing.split(" ", 1)[1]
    opening = random.choice(
        (
            f"Once there was a {trait} {role} called {name} who lived near {city.name}.",
            f"{name} was a {role} in {city.name}, and everybody said that {name} was {trait}.",
        )
    )
    middle = [
        f"One morning, in {random.choice(v.WEATHER)}, {name} found {thing} {place}.",
        f'"What is this?" asked {friend}. "I do not know," said {name}, "but it is not mine."',
        f"{name} was {random.choice(v.STORY_FEELINGS)} and hid the {short} at home.",
        f"That night the {short} began to shine, and {name} could not sleep.",
        f"They walked for {random.randrange(2, 9)} days, over the {city.country.mountain} "
        f"and across the {city.country.river}.",
        f'"We should bring it to {city.country.capital}," said {friend}.',
        f"On the way they met an old {random.choice(v.STORY_ROLES)} who knew the {short}.",
        f"{friend} laughed, but {name} was {random.choice(v.STORY_FEELINGS)}.",
    ]
    kept = sorted(random.sample(range(1, len(middle)), random.randrange(2, 6)))
    ending = random.choice(
        (
            f"In the end {name} gave the {short} back, and the {role} was never poor again.",
            f"{name} threw the {short} into the {city.country.river} and went home, glad and free.",
            f"The {short} belonged to the king. {name} kept the secret for "
            f"{random.randrange(10, 60)} years.",
        )
    )
    return f"{opening}\n\n{' '.join([middle[0]] + [middle[i] for i in kept])}\n\n{ending}\n"


def recipe(random: Random, w: World) -> str:
    d = random.choice(w.dishes)
    lines = [f"- {random.choice(v.UNITS)} {i}" for i in d.ingredients]
    steps = [
        f"{n}. "
        + step.format(
            a=d.ingredients[0],
            b=d.ingredients[1],
            c=d.ingredients[2],
            n=random.randrange(5, 45, 5),
            t=random.randrange(160, 240, 10),
        )
        for n, step in enumerate(random.sample(v.COOKING, random.randrange(3, 6)), 1)
    ]
    return (
        f"{d.name.capitalize()}\n\nA dish from {d.country.name}. "
        f"Serves {random.randrange(2, 8)}. Time: {d.minutes} minutes.\n\n"
        f"Ingredients:\n{chr(10).join(lines)}\n\nMethod:\n{chr(10).join(steps)}\n"
    )


def news(random: Random, w: World) -> str:
    c = random.choice(w.cities)
    event = random.choice(v.NEWS_EVENTS).format(
        landmark=c.landmark,
        export=c.country.export,
        river=c.country.river,
        industry=c.industry,
        person=random.choice(w.people).name,
    )
    first, last = random.choice(v.FIRST_NAMES), random.choice(v.LAST_NAMES)
    share = random.randrange(5, 95)
    body = [
        f"The council of {c.name} announced {event} on {_day(random)}.",
        f'"{random.choice(("We have waited years for this", "This will change the city"))}," '
        f"said {first} {last}, who leads the council.",
        f"The plan will cost {random.randrange(2, 90)} million {c.country.currency}s.",
        f"In a survey, {share} percent of the residents were in favour and {100 - share} percent "
        "against.",
        f"Work is expected to begin in {random.choice(v.MONTHS)}.",
        f"{c.name} has {c.population} inhabitants and lives mainly from {c.industry}.",
        f"Forecasters expect {random.choice(v.WEATHER)} in the {c.country.region} of the country.",
    ]
    kept = body[:2] + random.sample(body[2:], random.randrange(2, 5))
    return f"{c.name.upper()}, {_day(random)} - {' '.join(kept)}\n"


def _day(random: Random) -> str:
    return f"{random.randrange(1, 29)} {random.choice(v.MONTHS)}"


def listing(random: Random, w: World) -> str:
    if random.random() < 0.5:
        chosen = random.sample(w.countries, random.randrange(4, 9))
        title = random.choice(("Capitals of the world", "Countries and their exports"))
        if title.startswith("Capitals"):
            lines = [f"{c.name}: {c.capital}" for c in chosen]
        else:
            lines = [f"{c.name}: {c.export}, {c.second_export}" for c in chosen]
        return f"{title}\n\n" + "\n".join(lines) + "\n"
    chosen = random.sample(w.cities, random.randrange(3, 7))
    rows = [f"{c.name} | {c.country.name} | {c.population} | {c.founded}" for c in chosen]
    return "City | Country | Population | Founded\n--- | --- | --- | ---\n" + "\n".join(rows) + "\n"


def mathematics(random: Random, _: World) -> str:
    """Worked sums and word problems, all correct."""
    lines = [_problem(random) for _ in range(random.randrange(2, 7))]
    return f"Exercises {random.randrange(1, 200)}\n\n" + "\n".join(lines) + "\n"


def _problem(random: Random) -> str:
    a, b = random.randrange(2, 100), random.randrange(2, 100)
    c = random.randrange(2, 13)
    kind = random.randrange(5)
    if kind == 0:
        return f"{a} + {b} = {a + b}"
    if kind == 1:
        return f"{a + b} - {b} = {a}"
    if kind == 2:
        return f"{a} * {c} = {a * c}"
    if kind == 3:
        item, name = random.choice(v.ITEMS), random.choice(v.FIRST_NAMES)
        return (
            f"{name} has {a} {item} and buys {b} more. {name} now has {a} + {b} = {a + b} {item}."
        )
    return f"If x + {b} = {a + b}, then x = {a + b} - {b} = {a}."


def code(random: Random, _: World) -> str:
    parts = random.sample(CODE_TEMPLATES, random.randrange(1, 4))
    n = random.randrange(2, 100)
    things = random.choice(v.CODE_NOUNS)
    values = {"items": things, "item": things[:-1], "field": random.choice(v.CODE_FIELDS), "n": n}
    header = random.choice(("", "import math\n\n\n", "from collections import Counter\n\n\n"))
    return header + "\n\n".join(part.format(**values) for part in parts)


CODE_TEMPLATES = (
    """def count_{items}({items}):
    \"\"\"Number of {items} greater than {n}.\"\"\"
    total = 0
    for {item} in {items}:
        if {item} > {n}:
            total += 1
    return total
""",
    """def largest_{item}({items}):
    \"\"\"The largest of the {items}, or None.\"\"\"
    if not {items}:
        return None
    best = {items}[0]
    for {item} in {items}[1:]:
        if {item} > best:
            best = {item}
    return best
""",
    """def sort_by_{field}({items}):
    \"\"\"The {items} in order of their {field}.\"\"\"
    return sorted({items}, key=lambda {item}: {item}["{field}"])
""",
    """class {field}_store:
    def __init__(self):
        self.{items} = []

    def add(self, {item}):
        self.{items}.append({item})

    def total(self):
        return sum({item}.{field} for {item} in self.{items})
""",
    """def mean_{field}({items}):
    if len({items}) == 0:
        raise ValueError("no {items}")
    return sum({items}) / len({items})
""",
    """def read_{items}(path):
    with open(path) as file:
        return [line.strip() for line in file if line.strip()]
""",
    """for i in range({n}):
    if i % 3 == 0:
        print("{item}", i)
    else:
        print(i)
""",
    """SELECT {field}, COUNT(*) FROM {items} WHERE {field} > {n} GROUP BY {field};
""",
)


def letter(random: Random, w: World) -> str:
    to, sender = random.sample(v.FIRST_NAMES, 2)
    city = random.choice(w.cities)
    body = [
        f"I write to you from {city.name}, where we have had {random.choice(v.WEATHER)} all week.",
        f"Yesterday we saw the {city.landmark}, which is older than I thought.",
        f"The people speak {city.country.language} and I understand half of it.",
        f"I bought {random.randrange(2, 30)} {random.choice(v.ITEMS)} at the market.",
        f"We ate {random.choice(w.dishes).name}, and I thought of you.",
        f"On {_day(random)} I take the train to {city.country.capital}.",
        f"Tell your sister that I found {random.choice(v.STORY_OBJECTS)} for her.",
        f"I was {random.choice(v.STORY_FEELINGS)} when your letter came.",
    ]
    kept = random.sample(body, random.randrange(3, 7))
    return f"Dear {to},\n\n{' '.join(kept)}\n\nYours,\n{sender}\n"


def forum(random: Random, _: World) -> str:
    """A thread of terse answers, unlike the assistant's manner."""
    names = [n.lower() + str(random.randrange(10, 99)) for n in random.sample(v.FIRST_NAMES, 3)]
    topic = random.choice(list(v.HABITS))
    tips = random.sample(v.HABITS[topic], 3)
    lines = [
        f"{names[0]} wrote: anybody knows how to {topic}? tried everything",
        f"{names[1]} wrote: {tips[0]}. worked for me",
        f"{names[2]} wrote: > {tips[0]}\nnot sure about that. i would say {tips[1]}",
        f"{names[0]} wrote: ok will try. {random.choice(('thx', 'cheers', 'hm'))}",
        f"{names[1]} wrote: and {tips[2]}",
    ]
    return "\n".join(lines[: random.randrange(3, 6)]) + "\n"


def log(random: Random, _: World) -> str:
    """A log whose clock moves forward."""
    seconds = random.randrange(80_000)
    lines = []
    for _line in range(random.randrange(4, 12)):
        seconds += random.randrange(1, 300)
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        level = random.choice(("INFO", "INFO", "INFO", "DEBUG", "WARNING", "ERROR"))
        noun, n = random.choice(v.CODE_NOUNS), random.randrange(1, 5000)
        message = random.choice(
            (
                f"loaded {n} {noun}",
                f"connection from 10.0.{n % 256}.{n % 17}",
                f"cannot read {noun}.csv, retry {n % 5 + 1}",
                f"request took {n} ms",
                f"saved {noun} to disk",
            )
        )
        lines.append(f"{clock} {level} {message}")
    return "\n".join(lines) + "\n"


def poem(random: Random, w: World) -> str:
    lines = []
    for _ in range(random.randrange(2, 4)):
        subject, weather = random.choice(v.SENTENCE_SUBJECTS), random.choice(v.WEATHER)
        adjective, noun = random.choice(v.TITLE_ADJECTIVES), random.choice(v.TITLE_NOUNS)
        lines += [
            f"O {adjective.lower()} {noun.lower()},",
            f"{subject} is {random.choice(v.COLOURS)} in the {weather},",
            f"and I am {random.choice(v.STORY_FEELINGS)} tonight",
            f"beneath {random.choice(w.countries).mountain}.",
            "",
        ]
    return "\n".join(lines)


def dictionary(random: Random, _: World) -> str:
    """Phrases with their translations, as in a traveller's phrase book."""
    language = random.randrange(len(v.LANGUAGES))
    phrases = random.sample(list(v.PHRASES), random.randrange(3, 7))
    lines = [f"{phrase} = {v.PHRASES[phrase][language]}" for phrase in phrases]
    return f"English - {v.LANGUAGES[language]}\n\n" + "\n".join(lines) + "\n"


GENRES: Mapping[Callable[[Random, World], str], int] = {
    encyclopaedia: 30,
    story: 14,
    recipe: 8,
    news: 10,
    listing: 6,
    mathematics: 8,
    code: 8,
    letter: 6,
    forum: 3,
    log: 3,
    poem: 2,
    dictionary: 2,
}
"""How often each is drawn, beside the others."""
