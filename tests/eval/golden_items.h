// The golden files of tests/golden/evaluation as runs of `score`: what goes in, what must come out.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/golden.h"

namespace ropescope::eval {

struct GoldenRun {
  std::string benchmark, profile = "paper", policy = "exact";
  /// Of a test: letters, digits and underscores.
  std::string name() const {
    std::string text = benchmark + "_" + profile + "_" + policy;
    for (size_t at; (at = text.find('+')) != std::string::npos;) text.replace(at, 1, "_plus");
    return text;
  }
};

inline std::vector<GoldenRun> golden_runs() {
  std::vector<GoldenRun> runs = {{"mmbench", "paper", "exact"}, {"mmbench", "current", "static"}};
  for (const char* name : {"mmstar",       "realworldqa", "seedbench_2_plus", "pope",   "mme",
                           "ai2d",         "vqav2",       "scienceqa_img",    "docvqa", "chartqa",
                           "textvqa",      "mmmu_mc",     "refcoco_rec",      "mmniah", "refcoco+_rec",
                           "refcocog_rec", "mvbench",     "videomme",         "mlvu",   "charades_sta",
                           "order"}) {
    for (const char* profile : {"paper", "current"}) runs.push_back({name, profile, "exact"});
  }
  runs.push_back({"lvbench", "current", "exact"});
  return runs;
}

/// The record of an item; MM-NIAH's file keeps its columns beside the output.
inline Json golden_doc(const Json& item) {
  if (item.contains("doc")) return item.at("doc");
  return {{"task", item.at("task")}, {"answer", item.at("answer")}};
}

/// `expected` for this run; some files have one for each profile.
inline Json golden_expected(const Json& item, const GoldenRun& run) {
  const Json& expected = item.at("expected");
  return expected.contains(run.profile) ? expected.at(run.profile) : expected;
}

inline Json golden_aggregates(const Json& golden, const GoldenRun& run) {
  if (!golden.contains("aggregates")) return Json::object();
  const Json& aggregates = golden.at("aggregates");
  if (aggregates.contains(run.policy)) return aggregates.at(run.policy);
  return aggregates.contains(run.profile) ? aggregates.at(run.profile) : aggregates;
}

/// Every field of `expected` is there; numbers to 1e-9, all else exactly.
inline void expect_close(const Json& actual, const Json& expected, const std::string& where) {
  if (expected.is_object()) {
    for (const auto& [key, value] : expected.items()) {
      ASSERT_TRUE(actual.contains(key)) << where << "/" << key << " is missing";
      expect_close(actual.at(key), value, where + "/" + key);
    }
  } else if (expected.is_array() && !expected.empty() && actual.is_array() &&
             actual.size() == expected.size()) {
    for (size_t i = 0; i < expected.size(); ++i) {
      expect_close(actual[i], expected[i], where + "/" + std::to_string(i));
    }
  } else if (expected.is_number() && actual.is_number()) {
    EXPECT_NEAR(actual.get<double>(), expected.get<double>(), 1e-9) << where;
  } else {
    EXPECT_EQ(actual, expected) << where;
  }
}

/// One line of `score --json` against the item.
inline void expect_item(const Json& actual, const Json& item, const GoldenRun& run) {
  const Json expected = golden_expected(item, run);
  const std::string where = item.at("branch").get<std::string>() + " " + item.at("output").dump();
  if (item.contains("prompt")) {
    EXPECT_EQ(actual.at("prompt"), item.at("prompt")) << where;
  }
  const char* extracted = run.benchmark == "mmbench"      ? (run.policy == "static" ? "static" : "prefetch")
                          : expected.contains("filtered") ? "filtered"
                          : expected.contains("box")      ? "box"
                                                          : "extracted";
  if (expected.contains(extracted)) expect_close(actual.at("extracted"), expected.at(extracted), where);
  if (expected.contains("processed")) {
    EXPECT_EQ(actual.at("processed"), expected.at("processed")) << where;
  }
  Json score = expected.contains("iou") ? expected.at("iou") : expected.value("score", Json());
  if (run.benchmark == "mmbench") {
    score = expected.at(extracted) == item.at("doc").at("answer") ? 1.0 : 0.0;
  }
  expect_close(actual.at("score"), score, where + " score");
}

}  // namespace ropescope::eval
