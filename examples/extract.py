"""A real chat model learns to answer with exact JSON: SmolLM2-135M-Instruct, GRPO on two CPU cores, no demonstration.

    groupwise fetch smollm2 models/smollm2
    groupwise run examples/extract.py --model models/smollm2

1. A row is a sentence about a person, a city and a year; right is one JSON object with these three and nothing else.
2. The exact match judges. A graded reward teaches: a part for JSON, for its keys, for each value, the rest for nothing
   beside it, so that a group of answers that are all wrong still has better and worse ones.
3. Dr. GRPO goes on from the chat model as it is, 64 completions a step.
4. Held out are names of which no part was seen, in sentences of the kinds that were seen (``new names``) and of kinds
   that were not (``new names and sentences``).
"""

import json
import re
from dataclasses import replace
from random import Random

from groupwise import HeldOut, Local, OnPolicy, Run, Stage, Task, as_reward, recipes, tasks
from groupwise.algorithm import ConstantLength
from groupwise.types import Example

TOKENS = 48
QUESTION = (
    'Write the name, the city and the year in this sentence as JSON, {{"name": "...", "city": "...", "year": ...}}, '
    "the year as a number. Answer with the JSON alone.\n\n{sentence}"
)
SENTENCES = (
    "{name} was born in {city} in {year}.",
    "In {year}, {name} moved to {city}.",
    "{city} has been the home of {name} since {year}.",
    "Since {year} the painter {name} has lived in {city}.",
    "It was in {year} that {name} opened a bakery in {city}.",
    "{name} studied law in {city} and left in {year}.",
    "The people of {city} chose {name} as their mayor in {year}.",
    "A bridge in {city} was named after {name} in {year}.",
    "{year} was the year in which {name} came to {city}.",
    "When {name} sold the shop in {city}, it was {year}.",
    "A doctor from {city}, {name}, won the prize in {year}.",
    "{name} and two friends crossed {city} by bicycle in {year}.",
    "Few people knew in {year} that {name} was living in {city}.",
    "Only {name} voted against the new bridge of {city} in {year}.",
    "The library of {city} owns three letters that {name} wrote in {year}.",
    "Until {year}, {name} sold flowers at the station of {city}.",
    "{name}, a lawyer, left {city} for good in {year}.",
    "{name}, who was born in {year}, lives in {city} to this day.",
    "In the summer of {year} a storm in {city} kept {name} from coming home.",
    "A hotel in {city} sent {name} a bill in {year}.",
    "Late in {year} the news from {city} surprised {name}.",
    "{city} gave {name} a medal in {year}.",
    "From {city}, {name} walked home in {year}.",
    "Everybody in {city} remembers the speech that {name} gave in {year}.",
    "{name} taught at the university of {city} until {year}.",
    "After {year}, {name} never saw {city} again.",
)
OTHER_SENTENCES = (
    "Nobody in {city} had heard of {name} before {year}.",
    "From {year} on, {name} taught music at a school in {city}.",
    "The museum in {city} bought a drawing by {name} in {year}.",
    "{name}, who died in {year}, is buried in {city}.",
    "Early in {year} a letter from {city} reached {name}.",
)


def words(text):
    return tuple(text.split())


FIRST = words(
    "Anna Ben Clara David Emma Felix Grace Henry Irene Jacob Karen Louis Maria Nadia Oscar Paula Robert Sophie Thomas "
    "Ursula Victor Wanda Xavier Yvonne Zoe Albert Beatrice Carl Dora Erik Frieda Gustav Helena Ida Julius Klara Martin"
)
LAST = words(
    "Adams Baker Carter Dixon Ellis Fisher Graham Hughes Irving Jensen Keller Lambert Morris Norton Parker Quinn Reed "
    "Shaw Turner Underwood Vaughan Walker Young Archer Brooks Cooper Dawson Edwards Foster Gibson Harper Knight"
)
OTHER_FIRST = words("Arthur Bianca Conrad Daphne Edgar Fiona Gideon Harriet Ivan Judith Kenneth Leonie")
OTHER_LAST = words("Abbott Brandt Collins Duncan Everett Fleming Goodwin Holloway Ingram Jordan Kendall Lawson")
CITIES = words(
    "Paris Berlin Madrid Vienna Lisbon Dublin Prague Warsaw Athens Cairo Nairobi Lima Quito Bogota Havana Toronto "
    "Boston Denver Seattle Chicago Sydney Auckland Tokyo Osaka Seoul Delhi Mumbai Oslo Helsinki Geneva"
)


def rows(count, seed, sentences, first, last):
    """Rows that the seed alone decides."""
    dice, made = Random(seed), []
    for number in range(count):
        name, city = f"{dice.choice(first)} {dice.choice(last)}", dice.choice(CITIES)
        year = dice.randrange(1850, 2020)
        sentence = dice.choice(sentences).format(name=name, city=city, year=year)
        answer = json.dumps({"name": name, "city": city, "year": year})
        made.append(Example(f"extract:{seed}:{number}", QUESTION.format(sentence=sentence), answer=answer))
    return made


def exact(completion, answer):
    """1 for the right JSON object and nothing beside it; blanks and the order of its keys are free."""
    try:
        return float(_same(json.loads(completion), json.loads(answer)))
    except (ValueError, RecursionError):
        return 0.0


def graded(completion, answer):
    """From 0 to 1: 0.2 for an object that parses, 0.2 for its keys, 0.1 a right value, the rest for ``exact``."""
    if exact(completion, answer):
        return 1.0
    wanted, found = json.loads(answer), _first_object(completion)
    if found is None:
        return 0.0
    right = sum(_same(found.get(key), value) for key, value in wanted.items())
    return 0.2 + 0.2 * (found.keys() == wanted.keys()) + 0.1 * right


def _same(found, wanted):
    """``True`` is no 1, and ``1987.0`` no year."""
    return found == wanted and json.dumps(found, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def _first_object(text):
    for match in re.finditer(r"\{[^{}]*\}", text):
        try:
            return json.loads(match[0])
        except ValueError:
            continue
    return None


def task():
    """Two thousand rows to learn from, two hundred of each held-out set."""
    held_out = {
        "new names and sentences": rows(200, 1, OTHER_SENTENCES, OTHER_FIRST, OTHER_LAST),
        "new names": rows(200, 2, SENTENCES, OTHER_FIRST, OTHER_LAST),
    }
    return Task(
        "extract",
        rows(2_000, 0, SENTENCES, FIRST, LAST),
        rewards=(as_reward(graded),),
        referee=(as_reward(exact),),
        held_out=tasks.held_out_sets(held_out),
    )


def run(model: str = "models/smollm2") -> Run:
    """``model``: the chat model that is made better, as ``groupwise fetch smollm2`` leaves it."""
    dr_grpo = replace(
        recipes.dr_grpo,
        source=OnPolicy(group_size=8, max_completion_tokens=TOKENS),
        aggregation=ConstantLength(TOKENS),
    )
    stage = Stage(
        "grpo",
        dr_grpo,
        task(),
        steps=70,
        prompts_per_step=8,
        learning_rate=6e-5,
        schedule="linear",
        checkpoint_every=0,
    )
    evaluation = HeldOut(problems=200, sampled_problems=0, max_completion_tokens=TOKENS)
    return Run("extract", model, (stage,), learner=Local(), evaluation=evaluation)
