"""The policies as frozen models: what a severity means, and what a feature is.

Text in a file becomes these through `rollback.policy_files`. Every field is documented with its unit, its default's
reason and what null means; `rollback policy schema` prints that.
"""

from __future__ import annotations

from rollback.core.alert_rules import AlertRule, Guard, Owner, Probing
from rollback.core.automation_policy import AutomationPolicy
from rollback.core.feature_policy import (
    PROOF_MARGIN,
    Channel,
    Client,
    Cohort,
    Contact,
    Downstream,
    FeaturePolicy,
    Flag,
    Link,
    PagerDuty,
    SeverityNames,
    Surface,
)
from rollback.core.health_policy import Health
from rollback.core.ladder_policy import CohortStep, Step
from rollback.core.policy_base import PolicyModel, plain, policy_hash
from rollback.core.probe_target import Assertion, EffectCheck, Endpoint, Request
from rollback.core.return_policy import (
    Approvals,
    Compare,
    ReleaseFreeze,
    SwitchBeside,
    SwitchReadBack,
)
from rollback.core.severity_policy import (
    FORCE_LIMIT,
    MITIGATION,
    Force,
    Gate,
    Mitigation,
    Monitoring,
    Remind,
    Returns,
    SeverityPolicy,
)

__all__ = [
    "FORCE_LIMIT",
    "MITIGATION",
    "PROOF_MARGIN",
    "AlertRule",
    "Approvals",
    "Assertion",
    "AutomationPolicy",
    "Channel",
    "Client",
    "Cohort",
    "CohortStep",
    "Compare",
    "Contact",
    "Downstream",
    "EffectCheck",
    "Endpoint",
    "FeaturePolicy",
    "Flag",
    "Force",
    "Gate",
    "Guard",
    "Health",
    "Link",
    "Mitigation",
    "Monitoring",
    "Owner",
    "PagerDuty",
    "PolicyModel",
    "Probing",
    "ReleaseFreeze",
    "Remind",
    "Request",
    "Returns",
    "SeverityNames",
    "SeverityPolicy",
    "Step",
    "Surface",
    "SwitchBeside",
    "SwitchReadBack",
    "plain",
    "policy_hash",
]
