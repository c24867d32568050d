"""Studies: named sets of recipes, trained and judged alike over several seeds, and what a paper says of their order."""

from simflow.study.budget import Budget
from simflow.study.named import studies
from simflow.study.study import Before, Claim, Row, Study
from simflow.study.worker import Outcome, work

__all__ = ["Before", "Budget", "Claim", "Outcome", "Row", "Study", "studies", "work"]
