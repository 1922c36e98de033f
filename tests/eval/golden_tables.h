// The report of a benchmark file against tests/golden/evaluation/mmbench_tsv.json.
#pragma once

#include <string>

#include <gtest/gtest.h>

#include "tests/support/golden.h"

namespace ropescope::eval {

/// All fields of an accepted record; mean colours of JPEG to 2.
inline void expect_accepted(const Json& actual, Json expected, const std::string& where) {
  for (const char* key : {"note", "status"}) expected.erase(key);
  const Json image = expected.at("image");
  expected.erase("image");
  Json rest = actual;
  rest.erase("image");
  EXPECT_EQ(rest, expected) << where;
  const double tolerance = image.at("format") == "JPEG" ? 2 : 1e-3;
  for (const auto& [key, value] : image.items()) {
    if (key == "stored_mode") continue;
    ASSERT_TRUE(actual.at("image").contains(key)) << where << " " << key;
    if (key != "mean_rgb") {
      EXPECT_EQ(actual.at("image").at(key), value) << where << " " << key;
      continue;
    }
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(actual.at("image").at(key)[i].get<double>(), value[i].get<double>(), tolerance) << where;
    }
  }
}

inline void expect_table(const Json& actual, const Json& expected, const std::string& name) {
  if (expected.contains("file_error")) {
    EXPECT_EQ(actual.at("file_error"), expected.at("file_error")) << name;
  }
  if (expected.contains("column")) {
    EXPECT_EQ(actual.at("column"), expected.at("column")) << name;
  }
  if (expected.contains("n_accepted")) {
    EXPECT_EQ(actual.at("items").size(), expected.at("n_accepted")) << name;
  }
  if (expected.contains("n_rejected")) {
    EXPECT_EQ(actual.at("rejected").size(), expected.at("n_rejected")) << name;
  }
  if (expected.contains("n_circular_groups")) {
    EXPECT_EQ(actual.at("n_circular_groups"), expected.at("n_circular_groups")) << name;
  }
  if (expected.contains("n_accepted_before")) {
    ASSERT_EQ(actual.at("items").size(), expected.at("n_accepted_before")) << name;
    EXPECT_EQ(actual.at("items")[0].at("index"), expected.at("first_index")) << name;
  }
  if (!expected.contains("records")) return;
  size_t accepted = 0, rejected = 0;
  for (size_t i = 0; i < expected.at("records").size(); ++i) {
    const Json& record = expected.at("records")[i];
    const std::string where = name + " record " + std::to_string(i + 1);
    if (record.at("status") == "accepted") {
      ASSERT_LT(accepted, actual.at("items").size()) << where;
      expect_accepted(actual.at("items")[accepted++], record, where);
    } else {
      ASSERT_LT(rejected, actual.at("rejected").size()) << where;
      const Json& found = actual.at("rejected")[rejected++];
      EXPECT_EQ(found, (Json{{"record", i + 1}, {"error", record.at("error")}})) << where;
    }
  }
}

}  // namespace ropescope::eval
