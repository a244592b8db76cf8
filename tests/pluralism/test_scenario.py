"""Scenarios: what they compute against hand computation, their files, and a sentence for every way they can
be wrong.
"""

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.special import expit, softmax

from distalign.checks import InputError
from distalign.pluralism.choice_problem import FAINTEST, choice_problem
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.scenario_file import build, examples, numeric_fields, read
from distalign.pluralism.sources.polis import load_polis
from distalign.populations import BradleyTerryUsers
from distalign.populations.worst_cases_kl import exponential_worst_case
from distalign.theory.distortion.constants import minimax_distortion

U = [[1.0, 0.0, 0.6], [0.0, 1.0, 0.7]]


def test_each_user_answers_at_his_own_temperature():
    own = Scenario(U, [3, 1], [5.0, 1.0])
    gaps = np.array(U)[:, :, None] - np.array(U)[:, None, :]
    by_hand = 0.75 * expit(5 * gaps[0]) + 0.25 * expit(gaps[1])
    np.testing.assert_allclose(own.win, by_hand, atol=1e-15)
    assert own.bound == pytest.approx(5 / 4 / (np.tanh(0.5) / 2))
    common = Scenario(U, [3, 1], 5.0)
    np.testing.assert_allclose(common.win, BradleyTerryUsers(U, [0.75, 0.25], 5.0).win, atol=1e-15)
    assert common.bound == pytest.approx(float(minimax_distortion(5.0)), rel=1e-14)


def test_the_bound_for_many_temperatures_is_not_violated_by_random_users():
    """The inequality behind it, user by user: s(b (x - y)) <= b x/4 - s(b) y on [0, 1]^2."""
    rng = np.random.default_rng(0)
    b, x, y = rng.uniform(0.1, 30, 10000), rng.random(10000), rng.random(10000)
    assert (np.tanh(b * (x - y) / 2) / 2 <= b * x / 4 - np.tanh(b / 2) / 2 * y + 1e-14).all()
    assert not (np.tanh(b * (x - y) / 2) / 2 <= b * x / 4.4 - np.tanh(b / 2) / 2 * y + 1e-14).all()


@pytest.mark.parametrize("pairs", ["uniform", [0.6, 0.3, 0.1], [[0, 3, 1], [3, 0, 2], [1, 2, 0]]])
def test_a_sample_has_the_exact_law(pairs):
    scenario = Scenario(
        U, [3, 1], [5.0, 1.0], pairs=pairs, n=100_000, comparisons_per_user=2, groups=["a", "b"]
    )
    assert scenario.joint.sum() == pytest.approx(1)
    counts = scenario.sample(np.random.default_rng(1))
    assert counts.sum() == 200_000
    sigma = np.sqrt(2 * scenario.joint / 100_000) + 1e-9  # both answers of a user could agree
    assert (np.abs(counts / 200_000 - scenario.joint) <= 5 * sigma).all()
    wrong = scenario.joint.transpose(0, 2, 1)  # losers for winners
    assert not (np.abs(counts / 200_000 - wrong) <= 5 * sigma).all()


def test_on_policy_pairs_are_drawn_from_the_reference():
    scenario = Scenario(U, pairs="on-policy", reference=[0.5, 0.3, 0.2])
    np.testing.assert_allclose(scenario.pairs, [0.5, 0.3, 0.2])
    np.testing.assert_allclose(scenario.pair_weights, np.outer([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"utilities": [[0, 100], [50, 20]]},
            r"subtract 0 and divide by 100, the same for all users, and multiply bt_temperature",
        ),
        ({"utilities": [[-1, 0.5], [0, 0]]}, r"subtract -1 and divide by 2"),
        ({"utilities": [[0.5], [0.2]]}, "one alternative leaves nothing to choose"),
        ({"utilities": [[0.5, np.nan, 0.1]]}, "NaN or infinity"),
        ({"utilities": [["x", "y", "z"]]}, "must be numbers"),
        ({"weights": [1, -1]}, "weights must be 2 numbers"),
        ({"weights": [1, 0]}, "user 2 has weight 0"),
        ({"bt_temperature": 0}, "bt_temperature must be a finite number above 0"),
        ({"bt_temperature": [1, 2, 3]}, "or 2 of them"),
        ({"pairs": [0.5, 0.5, 0.0]}, r"no weight to the pair \(a1, a3\)"),
        ({"pairs": [[0, 1, 1], [1, 0, 0], [1, 0, 0]]}, r"no weight to the pair \(a2, a3\)"),
        ({"pairs": [[0, 1, 1], [2, 0, 1], [1, 1, 0]]}, "symmetric"),
        ({"pairs": [0.5, 0.5, 0.5]}, "must sum to 1"),
        ({"pairs": "on policy"}, "'on-policy'"),
        ({"pairs": "on-policy", "log_reference": [np.log(0.5), np.log(0.5), -1e4]}, "no weight to the pair"),
        ({"reference": [0.5, 0.5, 0.0]}, "give log_reference"),
        ({"reference": [0.5, 0.5, 1e-310]}, "give log_reference"),
        ({"reference": [0.5, 0.6, 0.1]}, "probabilities of sum 1"),
        ({"log_reference": [0.0, 0.0, 0.0]}, "exponentials sum to 1"),
        ({"reference": [0.5, 0.3, 0.2], "log_reference": [-1.0, -1.0, -1.0]}, "not both"),
        ({"kl_budget": -0.1}, "kl_budget must be at least 0"),
        ({"kl_budget": "one"}, "kl_budget must be at least 0"),
        ({"kl_budget": 5e-13}, "0 or at least 1e-12 nats"),
        ({"kl_budget": 5e-324}, "0 or at least 1e-12 nats"),
        ({"kl_strength": 0.0}, "lambda must be"),
        ({"n": 0}, "n must be an integer of at least 1"),
        ({"comparisons_per_user": 1.5}, "comparisons_per_user must be an integer"),
        ({"alternatives": ["a", "a", "b"]}, "different names"),
        ({"groups": ["a"]}, "list of 2 names"),
    ],
)
def test_what_a_scenario_refuses(change, sentence):
    with pytest.raises(InputError, match=sentence):
        Scenario(**{"utilities": U, **change})


def write(path, text):
    path.write_text(text)
    return path


def test_every_example_builds_and_the_explained_one_holds_every_key():
    for name in examples():
        assert build(read(name)).size >= 3
    text = examples()["two_camps"].read_text()
    for key in (
        "users",
        "file",
        "votes",
        "polis",
        "spatial",
        "bt_temperature",
        "pairs",
        "reference",
        "log_reference",
        "kl_budget",
        "lambda",
        "n",
        "comparisons_per_user",
        "people",
        "name",
        "alternatives",
    ):
        assert f"{key}:" in text, key


def test_the_loud_minority_is_family_f3():
    ours, theirs = build(read("loud_minority")), exponential_worst_case(6.0, clones=1614)
    np.testing.assert_allclose(ours.win, theirs.users.win, atol=1e-12)
    np.testing.assert_allclose(ours.pairs, theirs.comparison, rtol=1e-6)
    np.testing.assert_allclose(ours.log_reference, theirs.log_reference, rtol=1e-5)
    assert ours.kl_budget == theirs.kl_budget


def test_a_table_of_utilities(tmp_path):
    table = pd.DataFrame(
        {
            "group": ["x", "y"],
            "tea": [1, 0],
            "milk": [0.2, 0.9],
            "weight": [3, 1],
            "bt_temperature": [2, None],
        }
    )
    table.to_csv(tmp_path / "u.csv", index=False)
    scenario = build(read(tmp_path / "u.csv"))
    assert (scenario.name, scenario.alternatives, scenario.groups) == ("u", ("tea", "milk"), ("x", "y"))
    assert scenario.weights.tolist() == [0.75, 0.25]
    assert scenario.bt_temperature.tolist() == [2, 5]
    assert build(read(tmp_path / "u.csv"), {"bt_temperature": 9}).bt_temperature.tolist() == [2, 9]
    write(tmp_path / "mine.yaml", "file: u.csv\nkl_budget: 1e-1\n")
    assert build(read(tmp_path / "mine.yaml")).kl_budget == 0.1


def test_numbers_are_replaced_by_name():
    spec = read("two_camps")
    assert "users.3.bt_temperature" in numeric_fields(spec)
    changed = build(spec, {"users.3.bt_temperature": 7, "users.1.utilities.2": 0.5, "n": 100.0})
    assert (changed.bt_temperature[2], changed.utilities[0, 1], changed.n) == (7, 0.5, 100)
    assert build(spec, {"lambda": 0.2}).kl_strength == 0.2
    assert build(read("spatial"), {"spatial.users": 7.0}).utilities.shape == (7, 8)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kl_budget: 1", "exactly one of users, file"),
        ("users: []", "list with one"),
        ("users: [{utilities: [1, 0]}]\nkl_bugdet: 1", "did you mean kl_budget"),
        ("users: [{utilitis: [1, 0]}]", "did you mean utilities"),
        ("users: [{utilities: [1, 0]}, {utilities: [1]}]", "same alternatives"),
        ("users: [{utilities: [1, 0], group: a}, {utilities: [1, 0]}]", "every user has a group or none"),
        ("users: [{utilities: [1, 0], bt_temperature: 3}]\nbt_temperature: 2", "has no effect"),
        ("users: [{utilities: [1, 0]}]\nkl_budget: 1\nlambda: 1", "kl_budget or lambda, not both"),
        ("users: [{utilities: [1, 0]}]\nname: a\nname: b", "stands twice"),
        ("- 1", "must be a YAML mapping"),
        ("a: [", "is not YAML"),
        ("file: nothing.csv", "cannot be read"),
        ("spatial: {users: 0}", "spatial.users must be"),
    ],
)
def test_what_a_file_refuses(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence):
        build(read(write(tmp_path / "bad.yaml", text)))


def test_unknown_names_get_a_suggestion():
    with pytest.raises(InputError, match="did you mean two_camps"):
        read("two_camp")
    with pytest.raises(InputError, match="did you mean bt_temperature"):
        build(read("two_camps"), {"bt_temprature": 1.0})


@pytest.fixture
def conversation(tmp_path):
    votes = pd.DataFrame(
        {
            "participant": range(6),
            "group-id": [0, 0, 1, 1, None, 1],
            "0": [1, 1, -1, 0, 1, -1],
            "1": [-1, -1, 1, 1, None, 1],
            "2": [1, 1, 1, 1, 1, 1],
            "3": [None, None, None, None, None, 1],
        }
    )
    comments = pd.DataFrame(
        {
            "comment-id": [0, 1, 2, 3],
            "agrees": [3, 3, 6, 1],
            "disagrees": [2, 2, 0, 0],
            "moderated": [1, 1, -1, 0],
            "comment-body": ["tea", "milk", "spam", "late"],
        }
    )
    votes.to_csv(tmp_path / "participants-votes.csv", index=False)
    comments.to_csv(tmp_path / "comments.csv", index=False)
    return tmp_path


def test_a_conversation_becomes_users(conversation):
    scenario = load_polis(conversation, statements=2)
    assert scenario.alternatives == ("statement 0", "statement 1")
    assert scenario.utilities.tolist() == [[1, 0], [1, 0], [0, 1], [0.5, 1], [0, 1]]
    assert (scenario.groups, scenario.texts, scenario.people) == (
        ("0", "0", "1", "1", "1"),
        ("tea", "milk"),
        5,
    )
    assert "semi-synthetic, calibrated on" in scenario.about[0].lower()
    everyone = load_polis(conversation, statements=2, seen=0.5)
    assert everyone.utilities[4].tolist() == [1, 0.5]
    assert everyone.groups is not None
    assert everyone.groups[4] == "none"
    assert "1 of 12 answers were not given" in everyone.about[0]


@pytest.fixture
def log(conversation):
    """The same votes as a log with raw signs (-1 agrees), one of them changed later."""
    votes = pd.read_csv(conversation / "participants-votes.csv").drop(columns="group-id")
    long = votes.melt("participant", var_name="comment-id", value_name="vote").dropna()
    long = long.rename(columns={"participant": "voter-id"}).assign(timestamp=range(10, 10 + len(long)))
    long["vote"] *= -1
    first = pd.DataFrame([{"voter-id": 0, "comment-id": "0", "vote": 1, "timestamp": 1}])
    pd.concat([long, first]).to_csv(conversation / "votes.csv", index=False)
    return conversation / "votes.csv"


def test_a_log_of_votes_is_the_conversation(conversation, log):
    table, found = load_polis(conversation, statements=2), load_polis(log, statements=2)
    assert found.utilities.tolist() == table.utilities.tolist()
    assert found.groups is None
    told = " ".join(found.about)
    assert "1 votes of the log were changed by a later one" in told
    assert "signs were turned" in told
    assert read(log) == {"polis": {"folder": str(log)}}  # known by its columns
    (conversation / "participants-votes.csv").unlink()
    assert load_polis(conversation, statements=2).utilities.tolist() == table.utilities.tolist()


def test_meta_statements_are_left_out_unless_asked_for(conversation):
    comments = pd.read_csv(conversation / "comments.csv").assign(**{"is-meta": [True, False, False, False]})
    comments.to_csv(conversation / "comments.csv", index=False)
    found = load_polis(conversation, statements=2, seen=0.5)
    assert found.alternatives == ("statement 1", "statement 3")
    assert "1 meta statements" in " ".join(found.about)
    assert load_polis(conversation, statements=2, meta=True).alternatives == ("statement 0", "statement 1")


def test_what_a_conversation_refuses(conversation):
    votes = pd.read_csv(conversation / "participants-votes.csv")
    with pytest.raises(InputError, match="3 that moderators did not reject"):
        load_polis(conversation, statements=9)
    with pytest.raises(InputError, match="seen must lie"):
        load_polis(conversation, seen=0.0)
    reversed_ = votes.assign(**{c: -votes[c] for c in "0123"})
    reversed_.to_csv(conversation / "participants-votes.csv", index=False)
    turned = load_polis(conversation, statements=2)
    assert turned.utilities.tolist() == [[1, 0], [1, 0], [0, 1], [0.5, 1], [0, 1]]
    assert "signs were turned" in " ".join(turned.about)
    own = {"n-agree": [1, 1, 1, 1, 1, 2], "n-disagree": [2, 2, 2, 1, 2, 1]}  # these outrank the statements'
    votes.assign(**own).to_csv(conversation / "participants-votes.csv", index=False)
    assert load_polis(conversation, statements=2).utilities[0].tolist() == [0, 1]
    votes.assign(**{"n-agree": 7, "n-disagree": 6}).to_csv(
        conversation / "participants-votes.csv", index=False
    )
    with pytest.raises(InputError, match="fit votes of 1 as well as votes of -1"):
        load_polis(conversation, statements=2)
    votes.assign(**{"0": 2}).to_csv(conversation / "participants-votes.csv", index=False)
    with pytest.raises(InputError, match=r"votes must be 1 \(agree\)"):
        load_polis(conversation, statements=2)
    votes.drop(columns="group-id").to_csv(conversation / "participants-votes.csv", index=False)
    with pytest.raises(InputError, match="no column 'group-id'"):
        load_polis(conversation, statements=2)
    with pytest.raises(InputError, match=r"holds no comments\.csv"):
        load_polis(conversation / "nowhere", statements=2)
    (conversation / "participants-votes.csv").unlink()
    with pytest.raises(InputError, match=r"holds no votes\.csv"):
        load_polis(conversation, statements=2)


@pytest.mark.parametrize(
    ("name", "people", "groups"),
    [
        ("american-assembly.bowling-green", 600, 2),
        ("vtaiwan.uberx", 480, 2),
        ("football-concussions", 115, 2),
    ],
)
def test_real_conversations(data_folder, name, people, groups):
    scenario = load_polis(data_folder / "polis" / name)
    assert scenario.utilities.shape == (people, 12)
    assert len(scenario.group_names) == groups
    assert all(scenario.texts or ())


def test_the_explained_example_is_yaml():
    assert yaml.safe_load(examples()["two_camps"].read_text())["name"] == "two camps"


def test_people_are_drawn_again_and_not_rows():
    """400 people of two kinds, nine to one: the weights of a resample are those of 400 draws."""
    scenario = Scenario([[1.0, 0.0], [0.0, 1.0]], weights=[0.9, 0.1], people=400)
    drawn = [scenario.resampled(np.random.default_rng(i)).weights for i in range(300)]
    first = np.array([w[0] for w in drawn])
    assert np.allclose(first * 400, np.round(first * 400))
    assert first.mean() == pytest.approx(0.9, abs=5 * 0.015 / np.sqrt(300))
    assert first.std() == pytest.approx(np.sqrt(0.9 * 0.1 / 400), rel=0.2)


def test_blocks_of_users_change_no_law(monkeypatch):
    rng = np.random.default_rng(8)
    given = {"weights": rng.random(7) + 0.1, "bt_temperature": rng.random(7) + 1, "groups": list("abababb")}
    whole = Scenario(rng.random((7, 4)), **given)
    joint, votes = whole.joint, choice_problem(whole, None).votes
    for module in ("scenario", "choice_problem"):
        monkeypatch.setattr(f"distalign.pluralism.{module}.USERS_AT_ONCE", 2)
    parts = Scenario(whole.utilities, **given)
    np.testing.assert_allclose(parts.joint, joint, rtol=1e-12)
    np.testing.assert_allclose(parts.joint.sum(), 1)
    np.testing.assert_allclose(choice_problem(parts, None).votes, votes, rtol=1e-12)


@pytest.mark.parametrize("temperature", [5.0, 5000.0])
def test_vetoes_are_the_last_places_among_what_is_left(temperature):
    """By a softmax for every set of alternatives; at 5,000 what is left is liked by e^700 and more."""
    rng = np.random.default_rng(0)
    users = 40
    law = rng.dirichlet(np.ones(users))
    scenario = Scenario(rng.random((users, 6)), law, np.full(users, temperature))
    problem, alive = choice_problem(scenario, None), np.ones(6, bool)
    lost = 0
    for gone in (None, 3, 0, 5, 1):
        if gone is not None:
            alive[gone] = False
        expected = np.zeros(6)
        expected[alive] = law @ softmax(-temperature * scenario.utilities[:, alive], axis=1)
        np.testing.assert_allclose(problem.vetoes(alive), expected, rtol=1e-12, atol=1e-15)
        lost += (problem._dislike[:, alive].sum(1) < FAINTEST).sum()
    assert (lost > 0) == (temperature > 100)  # the second road is taken where it is needed
