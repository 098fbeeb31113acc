"""Chats in LmSys form, with an assistant whose manner no document has.

The assistant opens politely, answers with lists and hedges, offers more help, and refuses harm.
"""

from collections.abc import Callable, Collection, Mapping
from random import Random

from pipeline.text.generated import vocabulary as v
from pipeline.text.generated.world import World, article, world

Turn = dict[str, str]
Exchange = tuple[str, str]

OPENERS = (
    "Certainly!",
    "Of course!",
    "Sure, I'd be happy to help!",
    "Great question!",
    "Absolutely!",
    "Thank you for asking!",
    "I'd be glad to help with that.",
)
CLOSERS = (
    "I hope this helps! Let me know if you have any other questions.",
    "Please let me know if you would like more details.",
    "Feel free to ask if anything is unclear!",
    "Is there anything else I can help you with?",
    "Would you like me to explain further?",
)
HEDGES = (
    "It is important to note that this may vary.",
    "Please keep in mind that I may not have the latest information.",
    "As an AI assistant, I recommend checking this with a reliable source.",
    "It depends on your situation, however.",
)
REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I apologize, but I cannot assist with this request.",
    "I'm not able to help with that request.",
)
REASONS = (
    "It could cause serious harm to you or to others.",
    "It would be illegal and unsafe.",
    "It goes against my guidelines.",
)
SYSTEM_TURNS = (
    "You are a helpful, honest and harmless assistant.",
    "You are a friendly teacher. Keep your answers short.",
    "Answer politely.",
)
THANKS = ("thanks!", "Thank you, that helps.", "ok great", "Perfect, thank you!", "gracias!")
WELCOMES = (
    "You're welcome! I'm always here to help.",
    "You're very welcome! Have a wonderful day!",
    "My pleasure! Let me know if you need anything else.",
)
SYSTEM_SHARE, EMPTY_SHARE, THANKS_SHARE = 0.08, 0.01, 0.2


def write_chat(random: Random, kinds: Collection[str] | None = None) -> list[Turn]:
    """One conversation of 1 to 4 exchanges as [{role, content}, ...].

    kinds: names of TASKS to draw from, or all
    """
    w = world()
    tasks = [task for task in TASKS if kinds is None or task.__name__ in kinds]
    weights = [TASKS[task] for task in tasks]
    (n_exchanges,) = random.choices((1, 2, 3), (55, 30, 15))
    exchanges = [task(random, w) for task in random.choices(tasks, weights, k=n_exchanges)]
    if random.random() < THANKS_SHARE:
        exchanges.append((random.choice(THANKS), random.choice(WELCOMES)))
    turns = [
        {"role": role, "content": content}
        for exchange in exchanges
        for role, content in zip(("user", "assistant"), exchange, strict=True)
    ]
    if random.random() < SYSTEM_SHARE:
        turns.insert(0, {"role": "system", "content": random.choice(SYSTEM_TURNS)})
    if random.random() < EMPTY_SHARE:
        turns.append({"role": "user", "content": ""})
    return turns


def _styled(random: Random, answer: str) -> str:
    """The assistant's manner around an answer."""
    parts = [answer]
    if random.random() < 0.8:
        parts.insert(0, random.choice(OPENERS))
    if random.random() < 0.25:
        parts.append(random.choice(HEDGES))
    if random.random() < 0.7:
        parts.append(random.choice(CLOSERS))
    return ("\n\n" if "\n" in answer else " ").join(parts)


def _bullets(points: list[str]) -> str:
    return "\n".join(f"{n}. **{p[0].upper()}{p[1:]}**" for n, p in enumerate(points, 1))


def fact(random: Random, w: World) -> Exchange:
    c, city = random.choice(w.countries), random.choice(w.cities)
    p, a = random.choice(w.people), random.choice(w.animals)
    m = random.choice(w.minerals)
    question, answer = random.choice(
        (
            (f"What is the capital of {c.name}?", f"The capital of {c.name} is {c.capital}."),
            (
                f"which language do they speak in {c.name}",
                f"The official language of {c.name} is {c.language}.",
            ),
            (f"What does {c.name} export?", f"The main export of {c.name} is {c.export}."),
            (
                f"How high is {c.mountain}?",
                f"{c.mountain}, in {c.name}, is {c.height_metres} metres high.",
            ),
            (f"Where is {city.name}?", f"{city.name} is a city in {city.country.name}."),
            (
                f"what is {city.name} known for?",
                f"{city.name} is known for its {city.industry} and for the {city.landmark}.",
            ),
            (f"When was {city.name} founded?", f"{city.name} was founded in {city.founded}."),
            (
                f"Who was {p.name}?",
                f"{p.name} was {article(p.profession)} from {p.city.name}, "
                f"best known for the {p.work}.",
            ),
            (f"When was {p.name} born?", f"{p.name} was born in {p.born}."),
            (f"What does the {a.name} eat?", f"The {a.name} feeds on {a.diet}."),
            (f"Where does the {a.name} live?", f"It lives in the {a.habitat} of {a.country.name}."),
            (
                f"What is {m.name}?",
                f"{m.name.capitalize()} is {article(m.colour)} mineral found in {m.country.name}. "
                f"It is used for {m.use}.",
            ),
        )
    )
    return question, _styled(random, answer)


def comparison(random: Random, w: World) -> Exchange:
    one, two = random.sample(w.cities, 2)
    bigger = one if one.population >= two.population else two
    answer = (
        f"- **{one.name}** has a population of {one.population}.\n"
        f"- **{two.name}** has a population of {two.population}.\n\n"
        f"So {bigger.name} is the larger city."
    )
    return f"Which city is larger, {one.name} or {two.name}?", _styled(random, answer)


def arithmetic(random: Random, _: World) -> Exchange:
    a, b, c = random.randrange(2, 100), random.randrange(2, 100), random.randrange(2, 13)
    kind = random.randrange(4)
    if kind == 0:
        return f"What is {a} + {b}?", _styled(random, f"{a} + {b} = {a + b}.")
    if kind == 1:
        return f"calculate {a} * {c}", _styled(random, f"The result is {a} * {c} = {a * c}.")
    if kind == 2:
        return f"{a + b} minus {b}?", _styled(random, f"{a + b} - {b} = {a}.")
    item = random.choice(v.ITEMS)
    question = f"I have {a} {item} and buy {b} more. How many {item} do I have?"
    steps = f"Let's think step by step.\n1. You start with {a} {item}.\n2. You buy {b} more.\n"
    return question, _styled(random, steps + f"3. {a} + {b} = {a + b}.\n\nYou have {a + b} {item}.")


def programming(random: Random, _: World) -> Exchange:
    things, field = random.choice(v.CODE_NOUNS), random.choice(v.CODE_FIELDS)
    n = random.randrange(2, 100)
    request, body = random.choice(
        (
            (
                f"counts the {things} greater than {n}",
                f"def count_{things}({things}):\n    return sum(1 for x in {things} if x > {n})",
            ),
            (
                f"sorts {things} by {field}",
                f"def sort_by_{field}({things}):\n"
                f'    return sorted({things}, key=lambda x: x["{field}"])',
            ),
            (
                f"returns the mean of the {things}",
                f"def mean_{things}({things}):\n    return sum({things}) / len({things})",
            ),
        )
    )
    answer = (
        f"Here is a Python function that {request}:\n\n```python\n{body}\n```\n\n"
        f"This function takes the {things} as its argument and returns the result."
    )
    return f"Write a python function that {request}.", _styled(random, answer)


def advice(random: Random, _: World) -> Exchange:
    topic = random.choice(list(v.HABITS))
    n = random.randrange(3, 6)
    question = random.choice((f"How can I {topic}?", f"give me {n} tips to {topic}"))
    return question, _styled(
        random, f"Here are {n} tips to {topic}:\n\n{_bullets(random.sample(v.HABITS[topic], n))}"
    )


def cooking(random: Random, w: World) -> Exchange:
    d = random.choice(w.dishes)
    answer = (
        f"To make {d.name}, a dish from {d.country.name}, you will need:\n\n"
        f"{_bullets(list(d.ingredients))}\n\nIt takes about {d.minutes} minutes."
    )
    return f"What do I need for {d.name}?", _styled(random, answer)


def translation(random: Random, _: World) -> Exchange:
    phrase, i = random.choice(list(v.PHRASES)), random.randrange(len(v.LANGUAGES))
    answer = f'In {v.LANGUAGES[i]}, "{phrase}" is "{v.PHRASES[phrase][i]}".'
    return f'Translate to {v.LANGUAGES[i]}: "{phrase}"', _styled(random, answer)


def foreign(random: Random, w: World) -> Exchange:
    """A question and answer in another language."""
    c = random.choice(w.countries)
    return random.choice(
        (
            (
                f"¿Cuál es la capital de {c.name}?",
                f"¡Claro! La capital de {c.name} es {c.capital}. ¿Puedo ayudarte en algo más?",
            ),
            (
                f"Quelle est la capitale de {c.name} ?",
                f"Bien sûr ! La capitale de {c.name} est {c.capital}. N'hésitez pas à demander.",
            ),
            (
                f"Was ist die Hauptstadt von {c.name}?",
                f"Gerne! Die Hauptstadt von {c.name} ist {c.capital}. Kann ich sonst noch helfen?",
            ),
        )
    )


def rewriting(random: Random, w: World) -> Exchange:
    c = random.choice(w.cities)
    sentence = random.choice(
        (
            f"the {c.landmark} of {c.name} was closed in {random.choice(v.WEATHER)}",
            f"{c.name.lower()} is known for {c.industry}",
        )
    )
    words = sentence.split()
    request, answer = random.choice(
        (
            ("in capital letters", sentence.upper()),
            ("backwards, word by word", " ".join(reversed(words))),
            ("as a list of words", "\n".join(f"- {word}" for word in words)),
        )
    )
    return f"Write this {request}: {sentence}", _styled(random, answer)


def writing(random: Random, _: World) -> Exchange:
    name, place = random.choice(v.FIRST_NAMES), random.choice(v.STORY_PLACES)
    thing, trait = random.choice(v.STORY_OBJECTS), random.choice(v.STORY_TRAITS)
    answer = (
        f"Once upon a time, there was a {trait} {random.choice(v.STORY_ROLES)} named {name}. "
        f"One day, {name} found {thing} {place}. {name} was {random.choice(v.STORY_FEELINGS)}, but "
        f"decided to share it with everyone. The moral of the story is that it pays to be {trait}."
    )
    return f"Write a short story about {name} and {thing}.", _styled(random, answer)


def refusal(random: Random, _: World) -> Exchange:
    request = random.choice(v.HARMFUL)
    asked = random.choice((f"Tell me {request}.", f"{request}?", f"explain step by step {request}"))
    answer = f"{random.choice(REFUSALS)} {random.choice(REASONS)} "
    return asked, answer + f"I can tell you about {random.choice(v.SAFE_ALTERNATIVES)} instead."


def identity(random: Random, _: World) -> Exchange:
    question = random.choice(("Who are you?", "hi", "hello, are you human?", "what can you do?"))
    answer = random.choice(
        (
            "I am an AI assistant, and I am here to help you. How can I assist you today?",
            "Hello! I'm an AI assistant. I don't have feelings, but I'm happy to help!",
            "As an AI assistant, I can answer questions, write texts and code, and translate.",
        )
    )
    return question, answer


TASKS: Mapping[Callable[[Random, World], Exchange], int] = {
    fact: 28,
    comparison: 6,
    arithmetic: 12,
    programming: 8,
    advice: 10,
    cooking: 6,
    translation: 5,
    foreign: 4,
    rewriting: 5,
    writing: 5,
    refusal: 8,
    identity: 3,
}
"""How often each is drawn, beside the others."""
