"""Cost models as objects: what fills and funding times cost, asked of a class that a user may replace (docs/fills.md)."""

from keel.core.costs.asked import CostModels
from keel.core.costs.built_in import BUILT_IN
from keel.core.costs.inputs import FillInputs, FundingInputs
from keel.core.costs.kinds import KINDS, Kind
from keel.core.costs.models import FeeModel, FundingModel, ImpactModel, SlippageModel
from keel.core.costs.set_aside import SetAside

__all__ = [
    "BUILT_IN",
    "KINDS",
    "CostModels",
    "FeeModel",
    "FillInputs",
    "FundingInputs",
    "FundingModel",
    "ImpactModel",
    "Kind",
    "SetAside",
    "SlippageModel",
]
