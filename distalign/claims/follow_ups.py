"""Claims of papers that came after the five."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="condorcet_cycles",
        title="Cycles, mixing, and the number of responses",
        paper="condorcet",
        folder="distortion",
        kind="identity",
        source="paper and ours",
        expects="holds",
        statement="As described in the abstract, whose theorems were not read: a reward represents "
        "preferences iff they have no Condorcet cycle, NLHF mixes iff no response is preferred to "
        "every other by a majority, and both a cycle and mixing become certain as responses are "
        "added (there under the Luce model). The laws held against are for other random "
        "preferences: those for three responses and for the Condorcet winner are classical; the law "
        "of the number mixed is the subject of F. Brandl (2017, abstract seen), its formula and "
        "proof for independent pairs are worked out here",
        prediction="Without exception the maximal lottery mixes iff there is no Condorcet winner, and a "
        "linear program finds a reward iff there is no cycle. With all pairs of m responses independent a "
        "lottery mixes k responses, k odd, with probability C(m, k) 2^(1 - m), and majorities have "
        "a cycle with probability 1 - m! / 2^(m (m - 1) / 2); three responses have one with "
        "probability 1/4 - 3 arcsin(1/3) / (2 pi) in an infinite crowd of random rankings.",
        code="distalign.solvers.choice.games.maximal_lottery",
        theory="distalign.theory.distortion.majorities.support_probability",
        presets={
            "test": {
                "responses": [3, 5],
                "users": [1, 5],
                "instances": 400,
                "crowd_instances": 300,
                "programs": 20,
            },
            "quick": {
                "responses": [3, 5, 8],
                "users": [1, 3, 25],
                "instances": 300,
                "crowd_instances": 200,
                "programs": 20,
            },
            "full": {
                "responses": [3, 4, 5, 6, 8, 10, 14, 20],
                "users": [1, 3, 5, 11, 25, 51],
                "instances": 3000,
                "crowd_instances": 5000,
                "programs": 100,
            },
        },
        seconds={"quick": 3, "full": 35},
    ),
)
