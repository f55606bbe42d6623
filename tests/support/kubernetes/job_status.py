"""What a Job's pods make of it: counts, policies, and its end."""

from __future__ import annotations

from collections.abc import Iterable

from support.kubernetes.job_pods import TRACKING, index_of, read, shown
from support.kubernetes.kinds import Obj, list_of, part
from support.kubernetes.store import condition, now, seconds, set_condition

_SUCCEEDED, _FAILED = "Succeeded", "Failed"


def finished(job: Obj) -> bool:
    """It is complete, or has failed, and nothing of it runs."""
    return any(condition(job, each).get("status") == "True" for each in ("Complete", "Failed"))


class Count:
    """The pods of a Job, and what follows from them."""

    def __init__(self, job: Obj, pods: list[Obj]) -> None:
        self._job, self._spec = job, job["spec"]
        self._status: Obj = part(job, "status")
        self.active = [
            each for each in pods if not _terminal(each) and "deletionTimestamp" not in each["metadata"]
        ]
        self.terminating = [
            each for each in pods if not _terminal(each) and "deletionTimestamp" in each["metadata"]
        ]
        self.counted = [each for each in pods if self._counts(each)]
        """Those that have ended, and whose end is noted now."""
        self._ignored = False
        self._target: tuple[str, str] = ("", "")
        self._failed = self._status.get("failed", 0) + sum(self._fails(each) for each in self.counted)
        for each in pods:
            # Also those that do not count any more, as those of a Job that was suspended.
            if _terminal(each) and each not in self.counted:
                self._fails(each)
        won = [each for each in self.counted if each["status"].get("phase") == _SUCCEEDED]
        self._indexes = read(self._status.get("completedIndexes", "")) | {
            index for each in won if (index := index_of(each)) is not None
        }
        self._succeeded = len(self._indexes) if self._indexed else self._status.get("succeeded", 0) + len(won)
        self._why = self._why_failed()
        self.ends = bool(self._why) or self._done
        if self.ends:
            # Those that run on are ended, and count at once.
            self._failed += len(self.active)

    @property
    def _indexed(self) -> bool:
        return bool(self._spec["completionMode"] == "Indexed")

    @property
    def _done(self) -> bool:
        return bool(self._succeeded >= self._spec.get("completions", 1))

    def _counts(self, pod: Obj) -> bool:
        if TRACKING not in list_of(pod["metadata"], "finalizers"):
            return False
        early = self._spec["podReplacementPolicy"] != "Failed" and "deletionTimestamp" in pod["metadata"]
        return _terminal(pod) or early

    def _fails(self, pod: Obj) -> int:
        """How much a pod counts as a failure."""
        if pod["status"].get("phase") == _SUCCEEDED:
            return 0
        for number, rule in enumerate(list_of(self._spec, "podFailurePolicy", "rules")):
            if (why := _matched(rule, pod)) is None:
                continue
            if rule["action"] == "Ignore":
                return 0
            if rule["action"] == "FailJob":
                message = f"{why} matching FailJob rule at index {number}"
                self._target = ("PodFailurePolicy", message)
            return 1
        return 1

    def _why_failed(self) -> tuple[str, str] | None:
        row = condition(self._job, "FailureTarget")
        if row.get("status") == "True":
            return row["reason"], row["message"]
        if self._target[0]:
            return self._target
        if self._failed > self._spec["backoffLimit"]:
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        deadline = self._spec.get("activeDeadlineSeconds")
        started = self._status.get("startTime")
        if deadline is not None and started and not self._spec.get("suspend"):
            late = seconds(now(micro=True)) >= seconds(started) + deadline
            if late:
                return "DeadlineExceeded", "Job was active longer than specified deadline"
        return None

    def missing(self) -> list[int | None]:
        """Indexes that want a pod, or so many ``None`` where there are none."""
        completions = self._spec.get("completions")
        there = [*self.active, *(self.terminating if self._spec["podReplacementPolicy"] == "Failed" else ())]
        room = self._spec["parallelism"] - len(there)
        if not self._indexed:
            left = room if completions is None else min(room, completions - self._succeeded - len(there))
            return [None] * max(0, left)
        taken = {index_of(each) for each in there} | self._indexes
        left_over: list[int | None] = [each for each in range(completions or 0) if each not in taken]
        return left_over[: max(0, room)]

    # Written down

    def write(self, job: Obj) -> None:
        """Note it in the Job."""
        status: Obj = job.setdefault("status", {})
        self._suspension(status)
        for name, value in (
            ("active", 0 if self.ends or self._spec.get("suspend") else len(self.active)),
            ("succeeded", self._succeeded),
            ("failed", self._failed),
        ):
            if value:
                status[name] = value
            else:
                status.pop(name, None)
        status["ready"] = sum(condition(each, "Ready").get("status") == "True" for each in self.active)
        left = self.ends or self._spec.get("suspend")
        status["terminating"] = len(self.terminating) + (len(self.active) if left else 0)
        status["uncountedTerminatedPods"] = {}
        if self._indexed and self._indexes:
            status["completedIndexes"] = shown(self._indexes)
        self._end(status)

    def _suspension(self, status: Obj) -> None:
        if self._spec.get("suspend"):
            if status.pop("startTime", None) or not condition({"status": status}, "Suspended"):
                set_condition(status, "Suspended", "True", "JobSuspended", "Job suspended")
            set_condition(status, "Suspended", "True", "JobSuspended", "Job suspended")
            return
        if "startTime" not in status:
            status["startTime"] = now()
        if condition({"status": status}, "Suspended").get("status") == "True":
            set_condition(status, "Suspended", "False", "JobResumed", "Job resumed")

    def _end(self, status: Obj) -> None:
        left = self.active or self.terminating
        if self._why is not None:
            set_condition(status, "FailureTarget", "True", *self._why)
            if not left and not self._spec.get("suspend"):
                set_condition(status, "Failed", "True", *self._why)
        elif self._done and not self._spec.get("suspend"):
            reached = "CompletionsReached", "Reached expected number of succeeded pods"
            set_condition(status, "SuccessCriteriaMet", "True", *reached)
            if not left:
                set_condition(status, "Complete", "True", *reached)
                status.setdefault("completionTime", now())


def _terminal(pod: Obj) -> bool:
    return part(pod, "status").get("phase") in (_SUCCEEDED, _FAILED)


def _matched(rule: Obj, pod: Obj) -> str | None:
    """How a rule of a policy fits a pod that failed; None where it does not."""
    where = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    if codes := rule.get("onExitCodes"):
        for row in _ended(pod):
            code = row["state"]["terminated"]["exitCode"]
            named = codes.get("containerName") in (None, row["name"])
            if named and code and (code in codes["values"]) == (codes["operator"] == "In"):
                return f"Container {row['name']} for pod {where} failed with exit code {code}"
    for pattern in list_of(rule, "onPodConditions"):
        if condition(pod, pattern["type"]).get("status") == pattern.get("status", "True"):
            return f"Pod {where} has condition {pattern['type']}"
    return None


def _ended(pod: Obj) -> Iterable[Obj]:
    status = part(pod, "status")
    rows = [*list_of(status, "initContainerStatuses"), *list_of(status, "containerStatuses")]
    return [each for each in rows if "terminated" in part(each, "state")]
