"""Utilities of texts against a formula of the test's own, in loops, and files against what they say."""

import math
from dataclasses import replace

import numpy as np
import pytest

from distalign.bridge.generation import tilts, users
from distalign.bridge.generation.users import EXAMPLE, Scale, Users, read_users, utilities_of
from distalign.checks import InputError
from distalign.pluralism.scenario_file import build, read
from tests.bridge.generation.scored import scored

RNG = np.random.default_rng(3)
A, B = RNG.normal(size=(3, 5)) + np.array([[0], [4], [9]]), RNG.exponential(size=(3, 5))
DRAWS = scored({"a": A, "b": B})
PEOPLE = Users(({"a": 1.5}, {"a": -1.0, "b": 0.5}), [3, 1], [2.0, 7.0], ("x", "y"))


def sigma(t):
    return 1 / (1 + math.exp(-t))


def by_hand(reference, k, s, n):
    """u_k of one draw, with means and deviations of the reference's numbers."""
    total = 0.0
    for name, weight in PEOPLE.mixtures[k].items():
        flat = [x for row in reference[name] for x in row]
        mean = sum(flat) / len(flat)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in flat) / len(flat))
        total += weight * ({"a": A, "b": B}[name][s][n] - mean) / deviation
    return sigma(total)


def wrongest(found, reference):
    """The largest difference to the formula over all types, prompts and draws."""
    places = [(k, s, n) for k in range(2) for s in range(3) for n in range(5)]
    return max(abs(found[place] - by_hand(reference, *place)) for place in places)


OTHER = {"a": 2 * A + 1, "b": B[:, ::-1] ** 2}


def test_utilities_are_the_formula_on_the_reference_draws():
    assert wrongest(utilities_of(DRAWS, PEOPLE).values, {"a": A, "b": B}) < 1e-12
    scale = Scale.of(scored(OTHER), PEOPLE.scores)
    assert wrongest(utilities_of(DRAWS, PEOPLE, scale).values, OTHER) < 1e-12


@pytest.mark.parametrize(
    "mistake",
    [
        "the labelled draws' own scale in place of the reference's",
        "each prompt by itself",
        "no logistic",
        "a variance in place of a deviation",
    ],
)
def test_a_mistake_in_the_formula_is_seen(mistake, monkeypatch):
    scale = Scale.of(scored(OTHER), PEOPLE.scores)
    if mistake.startswith("the labelled"):
        scale = None
    if mistake.startswith("each"):
        table = users.table_of
        monkeypatch.setattr(users, "table_of", lambda s, n: table(s, n) - table(s, n).mean(1, keepdims=True))
    if mistake.startswith("no"):
        monkeypatch.setattr(users, "expit", lambda x: x)
    if mistake.startswith("a variance"):
        scale = Scale(scale.mean, {name: d**2 for name, d in scale.deviation.items()}, scale.about)
    assert wrongest(utilities_of(DRAWS, PEOPLE, scale).values, OTHER) > 1e-3


def test_average_win_and_thumbs_weigh_types_by_their_shares():
    told = utilities_of(DRAWS, PEOPLE)
    u, win, up = told.values, told.win(), told.up()
    for s, i, j in [(0, 1, 2), (2, 4, 0)]:
        p = 0.75 * sigma(2 * (u[0, s, i] - u[0, s, j])) + 0.25 * sigma(7 * (u[1, s, i] - u[1, s, j]))
        assert win[s, i, j] == pytest.approx(p, abs=1e-12)
        assert up[s, i] == pytest.approx(
            0.75 * sigma(2 * (u[0, s, i] - 0.5)) + 0.25 * sigma(7 * (u[1, s, i] - 0.5)), abs=1e-12
        )
    np.testing.assert_allclose(told.average, 0.75 * u[0] + 0.25 * u[1], atol=1e-12)
    equal = Users(PEOPLE.mixtures, None, PEOPLE.temperatures)
    assert np.abs(utilities_of(DRAWS, equal).win() - win).max() > 0.01
    assert tilts.p_plus(win).weights.shape == (3, 5)


# -- files --


def test_the_example_serves_both_worlds():
    """Its utilities are those of texts a standard deviation above or below in each score."""
    scenario, people = build(read(EXAMPLE)), read_users("readers")
    np.testing.assert_allclose(scenario.weights, people.shares)
    np.testing.assert_allclose(scenario.bt_temperature, people.temperatures)
    assert scenario.groups == people.groups == ("glad", "glad", "sober")
    z = scored({"sentiment": [[1, 1, -1, -1]], "length": [[-1, 1, -1, 1]]})
    np.testing.assert_allclose(utilities_of(z, people).values[:, 0], scenario.utilities, atol=5e-4)


def written(tmp_path, text):
    path = tmp_path / "people.yaml"
    path.write_text(text)
    return path


def test_a_file_is_what_it_says(tmp_path):
    people = read_users(
        written(
            tmp_path,
            "users:\n  - {mixture: {a: 1}, weight: 3, bt_temperature: 2}\n  - {mixture: {b: -2, a: 1}}\n"
            "bt_temperature: 4\n",
        )
    )
    assert people.mixtures == ({"a": 1}, {"b": -2, "a": 1})
    assert people.shares.tolist() == [0.75, 0.25]
    assert people.temperatures.tolist() == [2, 4]
    assert people.groups is None
    assert (people.scores, people.name) == (("a", "b"), "people")
    assert read_users(written(tmp_path, "users: [{mixture: {a: 1}}]")).temperatures.tolist() == [5]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "users: [{utilities: [0, 1]}]",
            "one {mixture: {score: weight}} for each type of user; utilities are of",
        ),
        ("users: [{mixture: {a: 1}}, {weight: 1}]", "one {mixture: {score: weight}} for each"),
        ("users: [{mixture: {a: .nan}}]", "mixture of user 1 must map names of scores to finite numbers"),
        ("users: [{mixture: a}]", "mixture of user 1 must map"),
        ("users: [{mixture: {a: 1}}, {mixture: {a: 0}}]", "mixture of user 2 has only weights of 0"),
        ("users: [{mixture: {a: 1}, weight: -1}]", "weights must be"),
        ("users: [{mixture: {a: 1}, bt_temperature: 0}]", "bt_temperature must be"),
        ("users: [{mixture: {a: 1}, group: x}, {mixture: {a: 1}}]", "every user has a group"),
        ("users: [{mixtur: {a: 1}}]", "did you mean mixture"),
        ("spatial: {users: 3}", "users must be a list"),
    ],
)
def test_mistakes_of_a_file(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        read_users(written(tmp_path, text))
    assert "people.yaml" in str(error.value)


def test_a_file_of_mixtures_alone_is_refused_by_simulate(tmp_path):
    with pytest.raises(
        InputError, match="mixtures of scores are utilities of texts, which `distalign label`"
    ):
        build(read(written(tmp_path, "users: [{mixture: {a: 1}}]")))
    with pytest.raises(InputError, match="neither a file"):
        read_users(tmp_path / "none.yaml")


# -- scores that do not fit --


def test_scores_that_do_not_fit_are_sentences():
    with pytest.raises(InputError, match=r"cares for 'b', which the samples lack \(they have 'a'\)"):
        utilities_of(scored({"a": A}), PEOPLE)
    with pytest.raises(InputError, match="score 'b' is 1 for all reference draws"):
        utilities_of(scored({"a": A, "b": np.ones((3, 5))}), PEOPLE)
    with pytest.raises(InputError, match="reference draws lack score 'b'"):
        utilities_of(DRAWS, PEOPLE, Scale.of(DRAWS, ["a"]))
    other = replace(DRAWS, settings={**DRAWS.settings, "scores": {"a": "another model"}})
    with pytest.raises(InputError, match=r"reference draws is another one \(another model\)"):
        utilities_of(DRAWS, PEOPLE, Scale.of(other, PEOPLE.scores))
    with pytest.raises(InputError, match="'b' is not finite"):
        utilities_of(scored({"a": A, "b": np.where(B.max() == B, np.inf, B)}), PEOPLE)
