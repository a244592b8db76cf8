"""Claims of f-DPO."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="f_dpo_kkt", paper="f_dpo", kind="identity", source="paper and ours", expects="holds", figure=False,
        statement="Theorem 1 (the stationarity conditions give the reward as beta f'(pi/pi_ref) up to a constant, if f' tends to minus "
                  "infinity at 0; wording not seen); three roads to the optimum and the exact place where chi-squared and total "
                  "variation drop responses: ours",
        prediction="For eight admissible divergences the conic program, the stationarity solver and the minimiser of f-DPO on the exact "
                   "law agree, and the reward is recovered; chi-squared and total variation lose responses where predicted.",
        code="distalign.objectives.f_dpo.f_dpo", theory="distalign.theory.f_dpo.chi2_threshold",
        presets={"test": {"betas": [1, 0.1], "problems": 1}, "quick": {"betas": [1, 0.1], "problems": 8},
                 "full": {"betas": [3, 1, 0.3, 0.1], "problems": 50}},
        seconds={"quick": 7, "full": 88},
    ),
)
