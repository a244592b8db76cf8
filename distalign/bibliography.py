"""The papers distalign tests, as BibTeX, with what of each paper's text was read.

The field `seen` of a `Paper` says which text its claims rest on. Docstrings cite a paper and the number of a
statement and do not repeat it. A formula that could not be read was derived again, and the docstring then
says "derived" or "ours".

The losses that serve for comparison come from papers whose text was not read. Their formulas were taken from
public code:

    DPO, arXiv 2305.18290               the loss that all public code shares
    cDPO, Mitchell 2023                 as in public code
    rDPO, arXiv 2403.00409              TRL's loss type `robust`
    IPO, arXiv 2310.12036               Eq. 17 as TRL cites it
    KTO, arXiv 2402.01306               Eq. 7 as TRL cites it
    BCO, arXiv 2404.04656               TRL's BCO trainer
    chi-PO, arXiv 2407.13399            from memory; the abstract
    Dr. DPO, arXiv 2407.07880           two public implementations
    group-robust DPO, arXiv 2405.20304  the authors' code
    RuLSIF, arXiv 1106.4729             the abstract
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper: its short name here, the citation key, and what was readable when the claims were written.

    Attributes:
        name: short name, also the folder of its studies.
        key: BibTeX key.
        title, authors, year, venue, arxiv: as cited.
        seen: which text the claims rest on.
    """

    name: str
    key: str
    title: str
    authors: str
    year: int
    venue: str
    arxiv: str
    seen: str

    def bibtex(self) -> str:
        """The BibTeX entry."""
        return (
            f"@article{{{self.key},\n  title = {{{self.title}}},\n  author = {{{self.authors}}},\n"
            f"  year = {{{self.year}}},\n  journal = {{{self.venue}}},\n  eprint = {{{self.arxiv}}},\n"
            f"  archivePrefix = {{arXiv}}\n}}"
        )


PAPERS = (
    Paper(
        "aot",
        "melnyk2024aot",
        "Distributional Preference Alignment of {LLMs} via Optimal Transport",
        "Melnyk, Igor and Mroueh, Youssef and Belgodere, Brian and Rigotti, Mattia and Nitsure, Apoorva and "
        "Yurochkin, Mikhail and Greenewald, Kristjan and Navratil, Jiri and Ross, Jerret",
        2024,
        "Advances in Neural Information Processing Systems (NeurIPS)",
        "2406.05882",
        "the NeurIPS version with its appendices",
    ),
    Paper(
        "f_dpo",
        "wang2024fdpo",
        "Beyond Reverse {KL}: Generalizing Direct Preference Optimization with Diverse Divergence "
        "Constraints",
        "Wang, Chaoqi and Jiang, Yibo and Yang, Chenghao and Liu, Han and Chen, Yuxin",
        2024,
        "International Conference on Learning Representations (ICLR)",
        "2309.16240",
        "secondary sources and the authors' code; the full text was not seen",
    ),
    Paper(
        "robust",
        "xu2025robust",
        "Robust {LLM} Alignment via Distributionally Robust Direct Preference Optimization",
        "Xu, Zaiyan and Vemuri, Sushil and Panaganti, Kishan and Kalathil, Dileep and Jain, Rahul and "
        "Ramachandran, Deepak",
        2025,
        "Advances in Neural Information Processing Systems (NeurIPS)",
        "2502.01930",
        "the NeurIPS version without its displayed formulas, which were derived again from the proofs",
    ),
    Paper(
        "density_ratio",
        "higuchi2025ddro",
        "Direct Density Ratio Optimization: A Statistically Consistent Approach to Aligning Large Language "
        "Models",
        "Higuchi, Rei and Suzuki, Taiji",
        2025,
        "International Conference on Machine Learning (ICML)",
        "2505.07558",
        "the abstract; theorem texts were not seen",
    ),
    Paper(
        "density_ratio",
        "takahashi2026rdro",
        "Relative Density Ratio Optimization for Stable and Statistically Consistent Model Alignment",
        "Takahashi and Iwata and Kumagai and Kanai and Yamada and Nishida and Shinoda",
        2026,
        "arXiv preprint",
        "2604.04410",
        "the abstract; theorem texts were not seen",
    ),
    Paper(
        "distortion",
        "golz2025distortion",
        "Distortion of {AI} Alignment: Does Preference Optimization Optimize for Preferences?",
        'G{\\"o}lz, Paul and Haghtalab, Nika and Yang, Kunhe',
        2025,
        "Advances in Neural Information Processing Systems (NeurIPS)",
        "2505.23749",
        "theorem and definition texts of the published version, and a formal proof of them",
    ),
    Paper(
        "clipped_rlhf",
        "oko2026revisited",
        "Distortion of {AI} Alignment Revisited: {RLHF} is a Decent Utilitarian Aligner",
        "Oko and Ulichney and Haghtalab and Bao",
        2026,
        "arXiv preprint",
        "2609.12651",
        "the abstract and a third party's digest; the constants of its clip were not seen",
    ),
    Paper(
        "condorcet",
        "liu2025condorcet",
        "Statistical Impossibility and Possibility of Aligning {LLMs} with Human Preferences: From "
        "{Condorcet} Paradox to {Nash} Equilibrium",
        "Liu, Kaizhao and Long, Qi and Shi, Zhekun and Su, Weijie J. and Xiao, Jiancong",
        2025,
        "arXiv preprint",
        "2503.10990",
        "the abstract",
    ),
    Paper(
        "dro_rebel",
        "sahu2025drorebel",
        "{DRO-REBEL}: Distributionally Robust Relative-Reward Regression for Fast and Efficient {LLM} "
        "Alignment",
        "Sahu, Sharan and Wells, Martin T.",
        2025,
        "arXiv preprint",
        "2509.19104",
        "the abstract",
    ),
    Paper(
        "misspecified",
        "gopalan2025misspecified",
        "Why {DPO} is a Misspecified Estimator and How to Fix It",
        "Gopalan, Aditya and Chowdhury, Sayak Ray and Banerjee, Debangshu",
        2025,
        "arXiv preprint",
        "2510.20413",
        "the abstract",
    ),
    Paper(
        "coverage",
        "huang2024chipo",
        "Correcting the Mythos of {KL}-Regularization: Direct Alignment without Overoptimization via "
        "Chi-Squared Preference Optimization",
        "Huang, Audrey and Zhan, Wenhao and Xie, Tengyang and Lee, Jason D. and Sun, Wen and "
        "Krishnamurthy, Akshay and Foster, Dylan J.",
        2024,
        "arXiv preprint",
        "2407.13399",
        "the abstract",
    ),
    Paper(
        "coverage",
        "zhao2025coverage",
        "Towards a Sharp Analysis of Offline Policy Learning for $f$-Divergence-Regularized Contextual "
        "Bandits",
        "Zhao, Qingyue and Ji, Kaixuan and Zhao, Heyang and Zhang, Tong and Gu, Quanquan",
        2025,
        "arXiv preprint",
        "2502.06051",
        "the abstract",
    ),
    Paper(
        "bpo",
        "kim2025bpo",
        "Preference Optimization by Estimating the Ratio of the Data Distribution",
        "Kim, Yeongmin and Bae, Heesun and Na, Byeonghu and Moon, Il-Chul",
        2025,
        "Advances in Neural Information Processing Systems",
        "2505.19601",
        "sections 1 to 4 in a stored copy, without some of the displayed equations; no proofs",
    ),
    Paper(
        "probabilistic_voting",
        "alipour2026utilitarian",
        "Utilitarian Distortion Under Probabilistic Voting",
        "Alipour and Goyal",
        2026,
        "arXiv preprint",
        "2602.11152",
        "the abstract",
    ),
    Paper(
        "heterogeneous",
        "shirali2025direct",
        "Direct Alignment with Heterogeneous Preferences",
        "Shirali, Ali and Nasr-Esfahany, Arash and Alomar, Abdullah and Mirtaheri, Parsa and Abebe, Rediet "
        "and Procaccia, Ariel",
        2025,
        "NeurIPS",
        "2502.16320",
        "the abstract",
    ),
)

DISTALIGN = """@software{distalign,
  title = {distalign: one objective, exact simulation and language models},
  author = {{The distalign developers}},
  year = {2026},
  version = {0.1.0}
}"""
