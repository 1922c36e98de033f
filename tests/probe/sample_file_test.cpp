#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/probe/samples.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using ::testing::HasSubstr;

class SampleFile : public ::testing::Test {
 protected:
  /// A good file of others, after `change` had its way with the datasets.
  std::string error_of(SampleSource source,
                       const std::function<void(std::map<std::string, at::Tensor>&)>& change) {
    std::map<std::string, at::Tensor> datasets = {{"/pairs/q", at::ones({4, 8})},
                                                  {"/pairs/k", at::ones({4, 8})},
                                                  {"/pairs/text", at::tensor({0, 1, 2, 3}, at::kInt)},
                                                  {"/pairs/layer", at::tensor({0, 1, 0, 1}, at::kInt)},
                                                  {"/pairs/head", at::zeros({4}, at::kLong)},
                                                  {"/moments/mean_q", at::ones({2, 3, 8})},
                                                  {"/moments/mean_k", at::ones({2, 3, 8})},
                                                  {"/moments/count", at::ones({2, 3}, at::kLong)}};
    change(datasets);
    const testing::TemporaryFolder folder;
    ResultWriter writer(folder.path("s.h5"), Provenance{}, false);
    for (const auto& [name, values] : datasets) writer.write(name, values);
    writer.commit();
    return testing::refusal_of([&] { read_samples(folder.path("s.h5"), source); });
  }
  std::string with(const std::string& name, const at::Tensor& values) {
    const SampleSource source = name.rfind("/pairs", 0) == 0 ? SampleSource::kPairs : SampleSource::kMoments;
    return error_of(source, [&](auto& datasets) { datasets[name] = values; });
  }
  std::string without(const std::string& name) {
    const SampleSource source = name.rfind("/pairs", 0) == 0 ? SampleSource::kPairs : SampleSource::kMoments;
    return error_of(source, [&](auto& datasets) { datasets.erase(name); });
  }
};

TEST_F(SampleFile, OnlyWhatIsUsedIsNeeded) {
  EXPECT_EQ(without("/pairs/text"), "");
  EXPECT_EQ(without("/pairs/layer"), "");
  EXPECT_EQ(without("/moments/count"), "");
  EXPECT_EQ(error_of(SampleSource::kPairs, [](auto& datasets) { datasets.erase("/moments/mean_q"); }), "");
  EXPECT_THAT(without("/pairs/k"), HasSubstr("/pairs/k"));
  EXPECT_THAT(without("/moments/mean_k"), HasSubstr("/moments/mean_k"));
}

TEST_F(SampleFile, ImpossibleContentIsRefusedByName) {
  EXPECT_THAT(with("/pairs/q", at::ones({4, 7})), HasSubstr("/pairs/k"));
  EXPECT_THAT(with("/pairs/k", at::ones({3, 8})), HasSubstr("/pairs/k"));
  EXPECT_THAT(with("/pairs/q", at::ones({8})), HasSubstr("expected 2 dimensions"));
  EXPECT_THAT(with("/pairs/layer", at::tensor({0, -1, 0, 1}, at::kInt)), HasSubstr("/pairs/layer"));
  EXPECT_THAT(with("/pairs/layer", at::tensor({0, 1, 0}, at::kInt)), HasSubstr("/pairs/layer"));
  EXPECT_THAT(with("/pairs/head", at::tensor(std::vector<int64_t>{0, int64_t{1} << 40, 0, 1}, at::kLong)),
              HasSubstr("/pairs/head"));
  EXPECT_THAT(with("/pairs/text", at::tensor({0.0, 0.5, 1.0, 2.0}, at::kDouble)), HasSubstr("/pairs/text"));
  EXPECT_THAT(with("/pairs/q", at::full({4, 8}, INFINITY)), HasSubstr("finite"));
  EXPECT_THAT(with("/moments/mean_k", at::ones({2, 2, 8})), HasSubstr("/moments/mean_k"));
  EXPECT_THAT(with("/moments/mean_q", at::full({2, 3, 8}, NAN)), HasSubstr("finite"));
  EXPECT_THAT(with("/moments/count", at::zeros({2, 3}, at::kLong)), HasSubstr("at least one head"));
}

TEST_F(SampleFile, ModelFactsAndScalingSurviveTheFile) {
  Samples samples;
  samples.pairs.q = at::randn({2, 8});
  samples.pairs.k = at::randn({2, 8});
  samples.pairs.text = at::tensor({0, 1}, at::kLong);
  samples.pairs.layer = at::tensor({0, 1}, at::kLong);
  samples.pairs.head = samples.pairs.query = samples.pairs.key = at::zeros({2}, at::kLong);
  samples.text_names = {"a", "b"};
  samples.text_tokens = {40, 50};
  samples.model.num_layers = 5;
  samples.model.num_heads = 3;
  samples.model.num_key_value_heads = 1;
  samples.model.head_dim = 8;
  samples.model.max_position_embeddings = 4096;
  samples.model.rope = RopeConfig{};
  samples.model.rope->theta = 5e5;
  samples.model.rope->type = RopeType::kLlama3;
  samples.model.rope->factor = 8.0;
  samples.model.rope->original_max_position_embeddings = 512;
  samples.model.rope->high_freq_factor = 3.5;
  const testing::TemporaryFolder folder;
  ResultWriter writer(folder.path("s.h5"), Provenance{}, false);
  write_samples(writer, samples);
  writer.commit();
  const Samples read = read_samples(folder.path("s.h5"), SampleSource::kPairs);
  EXPECT_EQ(read.model.num_layers, 5);
  EXPECT_EQ(read.model.num_heads, 3);
  EXPECT_EQ(read.model.max_position_embeddings, 4096);
  ASSERT_TRUE(read.model.rope.has_value());
  EXPECT_EQ(read.model.rope->theta, 5e5);
  EXPECT_EQ(read.model.rope->type, RopeType::kLlama3);
  EXPECT_EQ(read.model.rope->factor, 8.0);
  EXPECT_EQ(read.model.rope->original_max_position_embeddings, 512);
  EXPECT_EQ(read.model.rope->high_freq_factor, 3.5);
  EXPECT_TRUE(testing::all_close(read.pairs.q, samples.pairs.q, 0.0));
}

}  // namespace
}  // namespace ropescope
