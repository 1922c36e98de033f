#include "ropescope/probe/moments.h"

#include <gtest/gtest.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>

#include "ropescope/core/tensor_operators.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;

TEST(Moments, StreamedEqualsDirectDespiteALargeMean) {
  at::manual_seed(3);
  // A mean of 1000 with a spread of 1: sums of raw squares in float32 would lose the covariance.
  std::vector<at::Tensor> texts;
  for (const int64_t tokens : {5, 40, 17, 1}) texts.push_back(at::randn({2, tokens, 6}) + 1000.0);
  MomentAccumulator accumulator(3, 4, 6, 4);
  for (size_t t = 0; t < texts.size(); ++t) accumulator.add(1, {0, 3}, static_cast<int64_t>(t), texts[t]);

  const at::Tensor all = at::cat(texts, 1).to(at::kDouble);
  const at::Tensor mean = all.mean(1);
  const at::Tensor centred = all - mean.unsqueeze(1);
  const at::Tensor covariance = centred.transpose(1, 2).matmul(centred) / static_cast<double>(all.size(1));
  for (const int64_t i : {0, 1}) {
    const int64_t head = i == 0 ? 0 : 3;
    EXPECT_TRUE(all_close(accumulator.mean()[1][head], mean[i], 1e-9));
    EXPECT_TRUE(all_close(accumulator.covariance()[1][head], covariance[i], 5e-6));
    EXPECT_EQ(accumulator.count()[1][head].item<double>(), 63.0);
    EXPECT_TRUE(all_close(accumulator.text_mean()[2][1][head], texts[2][i].mean(0), 1e-3));
  }
  EXPECT_EQ(accumulator.count()[1][1].item<double>(), 0.0);
  EXPECT_EQ(accumulator.count()[0][0].item<double>(), 0.0);
}

}  // namespace
}  // namespace ropescope
