// Memory predicted from names and sizes, of a model of Vicuna-7B's widths of which no number is ever there.
#include "ropescope/train/memory_plan.h"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "ropescope/models/decoder.h"

namespace ropescope {
namespace {

class Planned : public ::testing::Test {
 protected:
  Planned() {
    DecoderConfig config;
    config.hidden_size = 4096;
    config.intermediate_size = 11008;
    config.num_attention_heads = config.num_key_value_heads = 32;
    config.head_dim = 128;
    config.vocab_size = 32000;
    config.tie_word_embeddings = false;
    config.num_hidden_layers = 32;
    config.model_type = "llama";
    fill_equal_layers(config);
    weights_.layers.resize(32);
    slots_ = decoder_slots(config, /*with_lm_head=*/true, weights_);
    for (const TensorSlot& slot : slots_) {
      int64_t numbers = 1;
      for (const int64_t side : slot.shape) numbers *= side;
      all_ += numbers;
      names_.push_back(slot.name);
    }
    run_.mode = ShardMode::kParameters;
    run_.world = 8;
    run_.recomputes = true;
    run_.tokens = 4096;
  }

  MemoryPlan plan(const PlannedRun& run) const { return plan_memory(slots_, names_, run); }

  DecoderWeights weights_;
  std::vector<TensorSlot> slots_;
  std::vector<std::string> names_;
  int64_t all_ = 0;
  PlannedRun run_;
};

constexpr int64_t kLayer = 4 * 4096 * 4096 + 3 * 4096 * 11008 + 2 * 4096;

TEST_F(Planned, WhatIsHeldIsAShare) {
  EXPECT_NEAR(static_cast<double>(all_), 6.738e9, 1e6);
  const MemoryPlan eighth = plan(run_);
  const int64_t share = 4 * all_ / 8;
  EXPECT_NEAR(static_cast<double>(eighth.held.parameters), static_cast<double>(share),
              1e5);  // (the last norm is whole)
  EXPECT_EQ(eighth.held.gradients, share);
  EXPECT_EQ(eighth.held.optimizer, 2 * share);
  EXPECT_EQ(eighth.held.gathered_at_most, 4 * kLayer);
  run_.mode = ShardMode::kOptimizer;
  const MemoryPlan optimizer = plan(run_);
  EXPECT_EQ(optimizer.held.parameters, 4 * all_);
  EXPECT_EQ(optimizer.held.gradients, 4 * all_);
  EXPECT_EQ(optimizer.held.optimizer, 2 * share);
  EXPECT_EQ(optimizer.held.gathered_at_most, 0);
}

// At its most, a step holds weights, averages and slices of gradients; of the layer that is in work the gathered weights and
// its gradients, as autograd makes them and in a row; the weights of the layer that comes; of the layer before, the row
// of gradients that is on its way with what the other ranks send of theirs.
TEST_F(Planned, AStepHoldsSixLayersBesideItsShare) {
  run_.tokens = 16;
  run_.micro_batches = 2;
  const MemoryPlan found = plan(run_);
  const int64_t expected =
      found.held.parameters + found.held.optimizer + found.held.gradients + 4 * kLayer * 6;
  EXPECT_NEAR(static_cast<double>(found.step), static_cast<double>(expected),
              0.001 * static_cast<double>(expected));
  run_.on_cpu = false;  // NCCL sums on the way: a slice comes in place of the others'
  EXPECT_EQ(plan(run_).step, found.step - (4 * kLayer - 4 * kLayer / 8));
  run_.compute = at::kBFloat16;  // gathered weights and autograd's gradients are half as large
  EXPECT_NEAR(static_cast<double>(plan(run_).step),
              static_cast<double>(found.step - (4 * kLayer - 4 * kLayer / 8) - 6 * kLayer), 1e7);
}

// The loss's gradient of a table that is both is there until the embeddings' own comes: through all layers.
TEST_F(Planned, AnOutputMatrixThatIsTheEmbeddingTableHasItsGradientFromTheFirst) {
  run_.tokens = 16;
  run_.micro_batches = 2;
  const int64_t apart = plan(run_).step;
  const auto drop = [this](const std::string& name) {
    slots_.erase(std::find_if(slots_.begin(), slots_.end(),
                              [&](const TensorSlot& slot) { return slot.name == name; }));
  };
  drop("lm_head.weight");
  const int64_t table = int64_t{32000} * 4096,
                share = 4 * 4 * table / 8;  // of weights, gradients and two averages
  EXPECT_NEAR(static_cast<double>(plan(run_).step), static_cast<double>(apart - share + 4 * table), 1e6);
}

TEST_F(Planned, MoreProcessesAndLayersComputedAgainNeedLess) {
  int64_t before = 0;
  for (const int64_t world : {64, 16, 8, 2}) {
    run_.world = world;
    const int64_t now = plan(run_).step;
    EXPECT_GT(now, before) << world;
    before = now;
  }
  const MemoryPlan recomputed = plan(run_);
  run_.recomputes = false;
  EXPECT_GT(plan(run_).activations, 10 * recomputed.activations);
  EXPECT_GT(plan(run_).step, recomputed.step);
}

TEST_F(Planned, LoadingCountsWhereSharesAreSmall) {
  run_.world = 64;
  const MemoryPlan many = plan(run_);
  EXPECT_GT(many.loading, many.step);  // each process reads the whole file
  EXPECT_GT(many.peak, many.loading);
}

}  // namespace
}  // namespace ropescope
