#include "ropescope/io/compare.h"

#include <cmath>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

class Compare : public ::testing::Test {
 protected:
  template <typename Fill>
  std::string file(const std::string& name, const Fill& fill) {
    Provenance provenance;
    provenance.command = "made as " + name;  // provenance never matters
    ResultWriter writer(folder_.path(name), provenance, false);
    fill(writer);
    writer.commit();
    return folder_.path(name);
  }
  static CompareReport compare(const std::string& a, const std::string& b,
                               const CompareOptions& options = {}) {
    return compare_results(ResultReader(a), ResultReader(b), options);
  }
  static const CompareEntry& entry(const CompareReport& report, const std::string& name) {
    for (const CompareEntry& candidate : report.entries) {
      if (candidate.name == name) return candidate;
    }
    throw std::out_of_range(name);
  }
  testing::TemporaryFolder folder_;
};

TEST_F(Compare, EqualWithinToleranceWithTheWorstPlaceAndItsShare) {
  const at::Tensor values = at::arange(12, at::kDouble).view({3, 4});
  at::Tensor near = values.clone();
  near[1][2] += 3e-5;  // of 6: allowed 1e-5 * 6 + 1e-8
  const std::string a = file("a.h5", [&](ResultWriter& writer) { writer.write("/x/v", near); });
  const std::string b = file("b.h5", [&](ResultWriter& writer) { writer.write("/x/v", values); });
  const CompareReport report = compare(a, b);
  EXPECT_TRUE(report.equal());
  const CompareEntry& worst = entry(report, "/x/v");
  EXPECT_EQ(worst.place, (std::vector<int64_t>{1, 2}));
  EXPECT_NEAR(worst.difference, 3e-5, 1e-12);
  EXPECT_NEAR(worst.share, 3e-5 / (6e-5 + 1e-8), 1e-6);
  EXPECT_EQ(worst.second, "6");
  const CompareReport strict = compare(a, b, {1e-7, 0.0, ""});
  EXPECT_FALSE(strict.equal());
  EXPECT_EQ(entry(strict, "/x/v").outside, 1);
}

TEST_F(Compare, NumberTypesMayDifferIntegersAreExact) {
  const int64_t large = (int64_t{1} << 60) + 1;
  const std::string a = file("a.h5", [&](ResultWriter& writer) {
    writer.write("/n", at::tensor({1.5, 2.5}, at::kFloat));
    writer.write("/i", at::tensor({large}, at::kLong));
  });
  const std::string b = file("b.h5", [&](ResultWriter& writer) {
    writer.write("/n", at::tensor({1.5, 2.5}, at::kDouble));
    writer.write("/i", at::tensor({large - 1}, at::kLong));
  });
  const CompareReport report = compare(a, b, {0, 0, ""});
  EXPECT_EQ(entry(report, "/n").status, CompareStatus::kEqual);
  EXPECT_EQ(entry(report, "/i").status, CompareStatus::kDiffers);
  EXPECT_EQ(entry(report, "/i").difference, 1.0);
}

TEST_F(Compare, NanEqualsNanAndInfinityItselfOnly) {
  const auto write = [&](const std::string& name, std::vector<double> values) {
    return file(name, [&](ResultWriter& writer) { writer.write("/v", at::tensor(values, at::kDouble)); });
  };
  const std::string a = write("a.h5", {NAN, INFINITY, 1});
  EXPECT_TRUE(compare(a, write("same.h5", {NAN, INFINITY, 1})).equal());
  EXPECT_FALSE(compare(a, write("nan.h5", {0, INFINITY, 1})).equal());
  EXPECT_FALSE(compare(a, write("sign.h5", {NAN, -INFINITY, 1})).equal());
  EXPECT_FALSE(compare(a, write("finite.h5", {NAN, 1e300, 1}), {1.0, 1e308, ""}).equal());
  EXPECT_FALSE(compare(write("b.h5", {NAN, 1, 1}), a, {1.0, 1.0, ""}).equal());
}

TEST_F(Compare, MissingDatasetsShapesKindsTextsAndAttributes) {
  const std::string a = file("a.h5", [&](ResultWriter& writer) {
    writer.write("/only_a", at::arange(2));
    writer.write("/shape", at::arange(2));
    writer.write("/kind", at::arange(1));
    writer.write("/text", std::vector<std::string>{"same", "one", "x"});
    writer.write("/none", at::zeros({0, 3}));
    writer.attribute("/group", "sign", int64_t{-1});
    writer.attribute("/group", "method", std::string("bootstrap"));
  });
  const std::string b = file("b.h5", [&](ResultWriter& writer) {
    writer.write("/only_b", at::arange(2));
    writer.write("/shape", at::arange(3));
    writer.write("/kind", std::vector<std::string>{"0"});
    writer.write("/text", std::vector<std::string>{"same", "two", "y"});
    writer.write("/none", at::zeros({0, 3}));
    writer.attribute("/group", "sign", int64_t{1});
    writer.attribute("/group", "method", std::string("bootstrap"));
  });
  const CompareReport report = compare(a, b);
  EXPECT_EQ(report.entries.size(), 8u);
  EXPECT_EQ(entry(report, "/only_a").status, CompareStatus::kOnlyInFirst);
  EXPECT_EQ(entry(report, "/only_b").status, CompareStatus::kOnlyInSecond);
  EXPECT_EQ(entry(report, "/shape").status, CompareStatus::kShape);
  EXPECT_EQ(entry(report, "/shape").second, "[3]");
  EXPECT_EQ(entry(report, "/kind").status, CompareStatus::kKind);
  EXPECT_EQ(entry(report, "/text").status, CompareStatus::kDiffers);
  EXPECT_EQ(entry(report, "/text").outside, 2);
  EXPECT_EQ(entry(report, "/text").first, "\"one\"");
  EXPECT_EQ(entry(report, "/none").status, CompareStatus::kEqual);
  EXPECT_EQ(entry(report, "/group@sign").status, CompareStatus::kDiffers);
  EXPECT_EQ(entry(report, "/group@method").status, CompareStatus::kEqual);
  EXPECT_EQ(compare(a, b, {1e-5, 1e-8, "/group@"}).entries.size(), 0u);
  EXPECT_EQ(compare(a, b, {1e-5, 1e-8, "/group"}).entries.size(), 2u);
  EXPECT_THROW(compare(a, b, {-1, 0, ""}), UsageError);
}

}  // namespace
}  // namespace ropescope
