#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tables, verdicts and budget of the instruction-count benchmark, from made-up samples. Run by the unit group of tools/check.py."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from pblib import benchguest, benchops, countops  # noqa: E402

OP = {op.name: op for op in countops.OPS}


def sample(tsc, **exits):
    return benchguest.Sample(0, 0, {"exit:" + k: v for k, v in exits.items()}, tsc)


class Count(unittest.TestCase):
    def test_cost_takes_the_handshake_off(self):
        op = OP["fork"]
        self.assertEqual(countops.cost(sample(5000 + 700 * op.count), sample(5000), op), 700)

    def test_cost_counts_all_workers_but_only_those_that_act(self):
        four = benchops.dataclasses.replace(OP["fork"], workers=4, count=10)
        self.assertEqual(countops.cost(sample(4000), sample(0), four), 100)
        self.assertEqual(OP["pipe"].done, OP["pipe"].count)

    def test_exits_leave_out_what_hardly_happens(self):
        op = OP["touch"]
        found = countops.exits(sample(0, PF=2 * op.count + 4, IO=4), sample(0, PF=4, IO=4), op)
        self.assertEqual(found, {"PF": 2})

    def test_verdicts(self):
        self.assertEqual(countops.verdict(OP["fork"], 100, 118), ("1.18", True))
        self.assertEqual(countops.verdict(OP["fork"], 100, 119), ("1.18", False))
        self.assertEqual(countops.verdict(OP["cpuid"], 7, 427), ("<= 420", True))
        self.assertEqual(countops.verdict(OP["cpuid"], 7, 428), ("<= 420", False))
        self.assertEqual(countops.verdict(OP["reuse"], 1, 9), ("", None))

    def test_budget_records_what_it_later_judges(self):
        ops = [OP["cpuid"], OP["fork"]]
        costs = {"bare": {"cpuid": 7, "fork": 1000}, "patchbay": {"cpuid": 1007, "fork": 1400}}
        budget = countops.budget_of(ops, costs)
        self.assertEqual(budget, {"cpuid": 1000, "fork": 1.4})
        self.assertEqual(countops.over_budget(budget, budget), [])
        costs["patchbay"]["fork"] = 1400 * 1.029
        self.assertEqual(countops.over_budget(countops.budget_of(ops, costs), budget), [])
        costs["patchbay"]["fork"] = 1400 * 1.031
        self.assertEqual(len(countops.over_budget(countops.budget_of(ops, costs), budget)), 1)
        costs["patchbay"] = {"cpuid": 1040, "fork": 900}
        self.assertEqual(countops.over_budget(countops.budget_of(ops, costs), budget), ["cpuid: 1033, budget 1000"])

    def test_every_operation_of_the_budget_is_known(self):
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench-count.json")
        self.assertLessEqual(set(countops.load_budget(path)), set(OP))
        self.assertTrue(countops.load_budget(path))

    def test_tables_have_a_row_an_operation_and_a_kind(self):
        ops = [OP["cpuid"], OP["touch"]]
        costs = {"bare": {"cpuid": 6, "touch": 100}, "patchbay": {"cpuid": 400, "touch": 150}}
        text = "\n".join(countops.cost_table(ops, costs, ["bare", "patchbay"]))
        self.assertRegex(text, r"cpuid +6 +400 .*met")
        self.assertRegex(text, r"touch +100 +150 +1\.500 +1\.22 +MISSED")
        text = "\n".join(countops.part_table({"PF": (10, [4090, 100, 2000, 300])}, 309))
        self.assertRegex(text, r"PF +10 +309 +10 +200 +30 +549 +100")


class Tap(unittest.TestResult):
    """A line a test, as the check reads them."""

    def stopTest(self, test):
        super().stopTest(test)
        broken = [text for one, text in self.failures + self.errors if one is test]
        print("%s %d - %s" % ("not ok" if broken else "ok", self.testsRun, test.id().rpartition(".")[2]))
        for text in broken:
            print("# " + text.strip().replace("\n", "\n# "))


def main():
    result = unittest.defaultTestLoader.loadTestsFromTestCase(Count).run(Tap())
    print("1..%d" % result.testsRun)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
