// Multi-head latent attention against the golden data of DeepSeek-V3; tolerances are those of
// tests/golden/architectures/README.md.
#include "ropescope/models/blocks/latent_attention.h"

#include <map>
#include <string>

#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>

#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/kernels/rms_norm.h"
#include "ropescope/rope/frequencies.h"
#include "ropescope/weights/gguf.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

const std::string kLatentFolder = "architectures/deepseek_v3/";
constexpr int64_t kLatentHeads = 3, kLatentValueDim = 10;
constexpr LatentShape kLatentShape{.q_rank = 24, .kv_rank = 16, .nope_dim = 12, .rope_dim = 8};

at::Tensor latent_numbers(at::IntArrayRef shape, uint64_t seed, at::ScalarType type = at::kFloat) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), type);
}

RotaryTable latent_table(int64_t tokens, PairLayout layout) {
  RopeConfig rope;
  rope.type = RopeType::kYarn;
  rope.factor = 8;
  rope.original_max_position_embeddings = 256;
  rope.mscale = rope.mscale_all_dim = 1;
  const Frequencies frequencies =
      make_frequencies(rope, kLatentShape.rope_dim, 2048, static_cast<double>(tokens));
  return make_rotary_table(at::arange(tokens, at::kLong).view({1, 1, tokens}), frequencies, layout);
}

class LatentGolden : public ::testing::Test {
 protected:
  std::map<std::string, at::Tensor> model_ = golden_tensors(kLatentFolder + "model.safetensors");
  std::map<std::string, at::Tensor> golden_ = golden_tensors(kLatentFolder + "expected.safetensors");

  LatentWeights weights(int64_t layer) const {
    const auto take = [&](const std::string& name) {
      return model_.at("model.layers." + std::to_string(layer) + ".self_attn." + name + ".weight");
    };
    LatentWeights taken;
    taken.q_a = take("q_a_proj"), taken.q_a_norm = take("q_a_layernorm"), taken.q_b = take("q_b_proj");
    taken.kv_a = take("kv_a_proj_with_mqa"), taken.kv_a_norm = take("kv_a_layernorm"),
    taken.kv_b = take("kv_b_proj");
    return taken;
  }
  at::Tensor expected(const std::string& name, int64_t layer) const {
    return golden_.at(name + "." + std::to_string(layer)).unsqueeze(0);
  }
};

TEST_F(LatentGolden, QueriesAndKeysBeforeAndAfterTheRotation) {
  for (int64_t layer = 0; layer < 3; ++layer) {
    SCOPED_TRACE(layer);
    const at::Tensor norm = model_.at("model.layers." + std::to_string(layer) + ".input_layernorm.weight");
    const at::Tensor x = kernels::rms_norm(expected("hidden", layer), norm, 1e-6);
    const LatentQkv qkv = latent_qkv(x, weights(layer), kLatentShape, kLatentHeads, kLatentValueDim);
    EXPECT_TRUE(all_close(qkv.q, expected("q", layer), 3e-4));
    EXPECT_TRUE(all_close(qkv.k, expected("k", layer), 3e-4));
    EXPECT_EQ(qkv.v.sizes(), at::IntArrayRef({1, kLatentHeads, 48, kLatentValueDim}));
    const RotaryTable table = latent_table(48, PairLayout::kAdjacent);
    EXPECT_TRUE(all_close(rotate_latent(qkv.q, table, 12), expected("q_rotated", layer), 3e-4));
    EXPECT_TRUE(all_close(rotate_latent(qkv.k, table, 12), expected("k_rotated", layer), 3e-4));
    // The rotation alone, from the stored tensors.
    EXPECT_TRUE(
        all_close(rotate_latent(expected("q", layer), table, 12), expected("q_rotated", layer), 5e-5));
    EXPECT_TRUE(
        all_close(rotate_latent(expected("k", layer), table, 12), expected("k_rotated", layer), 5e-5));
  }
}

TEST_F(LatentGolden, GgufHoldsTheUpProjectionInTwo) {
  const auto file = open_gguf_file(golden_path("architectures/gguf/deepseek_v3-F16.gguf"));
  const at::Tensor joined = join_latent_up(file->take("blk.1.attn_k_b.weight", at::kFloat),
                                           file->take("blk.1.attn_v_b.weight", at::kFloat));
  EXPECT_TRUE(at::equal(joined, weights(1).kv_b));
}

// Channels of one dot product may be turned in any order; halves are what others compare with.
TEST(LatentAttention, PairsComeOutInHalvesAndPassedChannelsAreUntouched) {
  const at::Tensor x = latent_numbers({2, 3, 7, 20}, 1);
  const RotaryTable adjacent = latent_table(7, PairLayout::kAdjacent);
  const at::Tensor turned = rotate_latent(x, adjacent, 12);
  EXPECT_TRUE(at::equal(turned.narrow(-1, 0, 12), x.narrow(-1, 0, 12)));
  const at::Tensor in_place = apply_rotary(x.narrow(-1, 12, 8).contiguous(), adjacent).view({2, 3, 7, 4, 2});
  EXPECT_TRUE(all_close(turned.narrow(-1, 12, 4), in_place.select(-1, 0), 1e-6));
  EXPECT_TRUE(all_close(turned.narrow(-1, 16, 4), in_place.select(-1, 1), 1e-6));

  const RotaryTable halves = latent_table(7, PairLayout::kHalfSplit);
  EXPECT_TRUE(all_close(rotate_latent(x, halves, 12).narrow(-1, 12, 8),
                        apply_rotary(x.narrow(-1, 12, 8).contiguous(), halves), 0));
}

TEST(LatentAttention, WithoutAQueryLatentAndWithBiases) {
  LatentShape shape = kLatentShape;
  shape.q_rank = 0;
  const at::Tensor x =
      latent_numbers({2, 5, 40}, 2, at::kDouble).mul(1e-2);  // small, so that the norm's eps counts
  LatentWeights weights;
  weights.q = latent_numbers({kLatentHeads * 20, 40}, 3, at::kDouble);
  weights.kv_a = latent_numbers({24, 40}, 4, at::kDouble).mul(1e-2),
  weights.kv_a_bias = latent_numbers({24}, 5, at::kDouble).mul(1e-3);
  weights.kv_a_norm = latent_numbers({16}, 6, at::kDouble),
  weights.kv_b = latent_numbers({kLatentHeads * 22, 16}, 7, at::kDouble);
  const LatentQkv qkv = latent_qkv(x, weights, shape, kLatentHeads, kLatentValueDim);

  const at::Tensor down = at::matmul(x, weights.kv_a.t()) + weights.kv_a_bias;
  const at::Tensor latent = down.slice(-1, 0, 16);
  const at::Tensor normed = latent / (latent * latent).mean(-1, true).add(1e-6).sqrt() * weights.kv_a_norm;
  for (int64_t h = 0; h < kLatentHeads; ++h) {
    EXPECT_TRUE(
        all_close(qkv.q.select(1, h), at::matmul(x, weights.q.slice(0, 20 * h, 20 * (h + 1)).t()), 1e-12));
    const at::Tensor up = at::matmul(normed, weights.kv_b.slice(0, 22 * h, 22 * (h + 1)).t());
    EXPECT_TRUE(
        all_close(qkv.k.select(1, h), at::cat({up.slice(-1, 0, 12), down.slice(-1, 16, 24)}, -1), 1e-12));
    EXPECT_TRUE(all_close(qkv.v.select(1, h), up.slice(-1, 12, 22), 1e-12));
  }

  shape.q_rank = 24;
  weights.q_a = latent_numbers({24, 40}, 8, at::kDouble).mul(1e-2),
  weights.q_a_bias = latent_numbers({24}, 9, at::kDouble).mul(1e-3);
  weights.q_a_norm = latent_numbers({24}, 10, at::kDouble),
  weights.q_b = latent_numbers({kLatentHeads * 20, 24}, 11, at::kDouble);
  const at::Tensor q = at::matmul(x, weights.q_a.t()) + weights.q_a_bias;
  const at::Tensor q_normed = q / (q * q).mean(-1, true).add(1e-6).sqrt() * weights.q_a_norm;
  EXPECT_TRUE(
      all_close(latent_qkv(x, weights, shape, kLatentHeads, kLatentValueDim).q.transpose(1, 2).flatten(2),
                at::matmul(q_normed, weights.q_b.t()), 1e-12));
}

}  // namespace
}  // namespace ropescope
