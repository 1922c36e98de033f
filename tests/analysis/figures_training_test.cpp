// Learning curves.
#include "ropescope/analysis/figures_training.h"

#include <cmath>
#include <filesystem>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>

#include "ropescope/core/errors.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

void write_run(const std::string& folder, int64_t steps) {
  std::filesystem::create_directories(folder);
  ResultWriter writer(folder + "/curves.h5", Provenance{}, true);
  const at::Tensor step = at::arange(1, steps + 1, at::kLong);
  writer.write("/train/step", step);
  writer.write("/train/loss", step.to(at::kDouble).reciprocal());
  writer.write("/train/grad_norm", step.to(at::kDouble).sqrt());
  writer.commit();
}

TEST(TrainingFigures, SmoothOverTheLastWindow) {
  const double nan = std::nan("");
  EXPECT_EQ(sliding_mean({4, 2, 6, 8}, 2), (std::vector<double>{4, 3, 4, 7}));
  EXPECT_EQ(sliding_mean({4, 2}, 1), (std::vector<double>{4, 2}));
  EXPECT_EQ(sliding_mean({4, nan, 6}, 3), (std::vector<double>{4, 4, 5}));
  EXPECT_TRUE(std::isnan(sliding_mean({nan}, 3)[0]));
  EXPECT_THROW(sliding_mean({1}, 0), UsageError);
}

TEST(TrainingFigures, OneRunShowsItsStepsSeveralTheirNames) {
  const TemporaryFolder folder;
  write_run(folder.path("a"), 300);
  write_run(folder.path("b"), 200);
  const Figure one = training_figure({{"a", folder.path("a")}});
  ASSERT_EQ(one.panels.size(), 2u);
  EXPECT_EQ(one.panels[0].series.size(), 2u);
  EXPECT_NEAR(one.panels[0].series[1].y[299], (std::log(300.0) - std::log(200.0)) / 100, 2e-5);
  const Figure both = training_figure({{"one", folder.path("a")}, {"two", folder.path("b") + "/curves.h5"}});
  ASSERT_EQ(both.panels[1].series.size(), 2u);
  EXPECT_EQ(both.panels[1].series[1].label, "two");
  EXPECT_EQ(both.panels[1].series[1].x.size(), 200u);
  EXPECT_THROW(training_figure({{"a", folder.path("a")}, {"a", folder.path("b")}}), UsageError);
  EXPECT_THROW(training_figure({{"c", folder.path("c")}}), InputError);
}

TEST(TrainingFigures, TheyNameWhatTheyShow) {
  const TemporaryFolder folder;
  write_run(folder.path("short"), 5);
  write_run(folder.path("again"), 5);
  EXPECT_EQ(training_figure({{"short", folder.path("short")}}).panels[0].series[1].label,
            "mean of the last 5");
  const Figure two = training_figure({{"short", folder.path("short")}, {"again", folder.path("again")}});
  EXPECT_EQ(two.panels[0].series[0].label, "short");
  EXPECT_EQ(two.panels[0].series[1].label, "again (equal to short)");
  EXPECT_NE(two.title.find("last 5 steps"), std::string::npos);
}

}  // namespace
}  // namespace ropescope
