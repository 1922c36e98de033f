// Low-rank adapters: gradients against differences, against autograd on W + s B A written out, and against merging.
#include "ropescope/train/lora.h"

#include <map>

#include <gtest/gtest.h>

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/autograd.h"
#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/train/adapter_file.h"
#include "ropescope/train/text_model.h"
#include "ropescope/weights/safetensors_writer.h"

#include "tests/support/finite_differences.h"
#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

std::string usage_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

class Lora : public ::testing::Test {
 protected:
  Lora() { set_threads(1); }  // these products are too small to share

  static Decoder load(const std::string& model, at::ScalarType type) {
    const std::string path = golden_path(model);
    LoadOptions options;
    options.dtype = type;
    return load_decoder(*open_checkpoint(path), read_decoder_config(path), options);
  }
  static Decoder tiny(at::ScalarType type = at::kFloat) {
    return load("language/llama-tiny/safetensors-fp32", type);
  }
  static TextBatch batch() {
    const std::vector<int64_t> ids = {1, 17, 42, 5, 99, 23, 7, 61};
    return pad_rows({ids, {1, 4, 8}}, {ids, {1, 4, 8}}, {"a", "b"}, 0);
  }
  /// B is zero at first, and so is A's gradient.
  static void move(Adapters& adapters) {
    const at::NoGradGuard no_grad;
    for (const TensorSlot& slot : adapters.slots()) slot.target->add_(at::randn_like(*slot.target), 0.05);
  }
  static ModelLossOptions with(const std::shared_ptr<Adapters>& adapters) {
    ModelLossOptions options;
    options.adapters = adapters;
    return options;
  }
};

TEST_F(Lora, IsReadFromItsText) {
  const LoraSettings settings = parse_lora("rank=8,targets=q_proj,k_proj,alpha=4");
  EXPECT_EQ(settings.rank, 8);
  EXPECT_EQ(settings.scale(), 0.5);
  EXPECT_EQ(settings.targets, (std::vector<std::string>{"q_proj", "k_proj"}));
  EXPECT_EQ(parse_lora(lora_text(settings)), settings);
  EXPECT_EQ(parse_lora("rank=4").alpha, 8);
  for (const char* wrong : {"", "rank", "rank=0", "rank=1.5", "rank=8,alpha=-1", "r=8", "targets="}) {
    EXPECT_NE(usage_of([&] { parse_lora(wrong); }).find("--lora"), std::string::npos) << wrong;
  }
}

TEST_F(Lora, BeginsAsTheModelItselfAndDependsOnTheSeedAlone) {
  const Decoder decoder = tiny();
  const TextBatch rows = batch();
  auto adapters = std::make_shared<Adapters>(decoder, parse_lora("rank=4"), "model.", 3);
  EXPECT_EQ(text_loss(decoder, rows, 1, with(adapters)).item<float>(),
            text_loss(decoder, rows, 1).item<float>());
  Adapters again(decoder, parse_lora("rank=4"), "model.", 3),
      other(decoder, parse_lora("rank=4"), "model.", 4);
  const auto slots = adapters->slots();
  EXPECT_EQ(slots.size(), 4u * static_cast<size_t>(decoder.config.num_hidden_layers));
  EXPECT_EQ(slots[0].name, "model.layers.0.self_attn.q_proj.lora_A.weight");
  EXPECT_TRUE(slots[0].target->equal(*again.slots()[0].target));
  EXPECT_FALSE(slots[0].target->equal(*other.slots()[0].target));
  EXPECT_FALSE(slots[0].target->equal(*slots[4].target)) << "each matrix has numbers of its own";
  const double bound = 1.0 / std::sqrt(static_cast<double>(decoder.config.hidden_size));
  EXPECT_LE(slots[0].target->abs().max().item<double>(), bound);
  EXPECT_GT(slots[0].target->abs().max().item<double>(), 0.9 * bound);
  EXPECT_EQ(slots[1].target->abs().max().item<double>(), 0.0);
}

TEST_F(Lora, GradientsAreDifferencesOfTheLoss) {
  const Decoder decoder = tiny(at::kDouble);
  Adapters adapters(decoder, parse_lora("rank=3,targets=q_proj,v_proj,down_proj"), "model.", 3);
  move(adapters);
  const at::Tensor ids = at::tensor({1, 17, 42, 5, 99, 23, 7, 61}, at::kLong);
  const PassEncoding encoding = plain_encoding(decoder.config, ids.size(0));
  std::vector<at::Tensor> leaves;
  for (const Parameter& parameter : adapters.parameters()) leaves.push_back(parameter.value);
  // Float64 throughout.
  const auto loss = [&] {
    const Decoder working = adapters.applied(decoder);
    ForwardInput input;
    input.input_ids = ids.unsqueeze(0);
    input.encoding = &encoding;
    ForwardOptions options;
    options.logits = ForwardOptions::Logits::kNone;
    const at::Tensor hidden = forward(working, input, options).final_hidden[0].narrow(0, 0, ids.size(0) - 1);
    return at::cross_entropy_loss(at::linear(hidden, working.weights.lm_head),
                                  ids.narrow(0, 1, ids.size(0) - 1));
  };
  expect_finite_differences(loss, leaves, 1e-7);
}

TEST_F(Lora, GradientsAreThoseOfTheSumWrittenOutAndOfLayersComputedAgain) {
  const Decoder decoder = tiny();
  const TextBatch rows = batch();
  auto adapters = std::make_shared<Adapters>(
      decoder, parse_lora("rank=4,targets=q_proj,k_proj,o_proj,up_proj"), "model.", 3);
  move(*adapters);
  std::vector<at::Tensor> leaves;
  for (const Parameter& parameter : adapters->parameters()) leaves.push_back(parameter.value);
  const auto gradients = torch::autograd::grad({text_loss(decoder, rows, 0.1, with(adapters))}, leaves);
  ModelLossOptions again = with(adapters);
  again.checkpoint_layers = true;
  const auto recomputed = torch::autograd::grad({text_loss(decoder, rows, 0.1, again)}, leaves);
  // The same by autograd's own operations.
  Decoder sum = decoder;
  const auto slots = decoder_slots(sum.config, true, sum.weights);
  const auto thin = adapters->slots();
  for (size_t i = 0; i < thin.size(); i += 2) {
    const std::string end = ".lora_A.weight";
    const std::string name = thin[i].name.substr(0, thin[i].name.size() - end.size()) + ".weight";
    for (const TensorSlot& slot : slots) {
      if (slot.name != name) continue;
      *slot.target =
          slot.target->add(at::mm(*thin[i + 1].target, *thin[i].target), adapters->settings().scale());
    }
  }
  const auto expected = torch::autograd::grad({text_loss(sum, rows, 0.1)}, leaves);
  for (size_t i = 0; i < leaves.size(); ++i) {
    const double size = expected[i].abs().max().item<double>();
    EXPECT_GT(size, 0) << i;
    EXPECT_TRUE(all_close(gradients[i], expected[i], 2e-6 * size)) << i;
    EXPECT_TRUE(recomputed[i].equal(gradients[i])) << i;
  }
}

TEST_F(Lora, MergedWeightsAreThoseThatWereTrained) {
  const Decoder decoder = tiny();
  Adapters adapters(decoder, parse_lora("rank=4,targets=q_proj,down_proj"), "model.", 3);
  move(adapters);
  const TemporaryFolder folder;
  std::map<std::string, at::Tensor> tensors, thin;
  Decoder base = decoder;
  for (const TensorSlot& slot : decoder_slots(base.config, true, base.weights))
    tensors[slot.name] = *slot.target;
  for (const TensorSlot& slot : adapters.slots()) thin[kAdapterPrefix + slot.name] = slot.target->detach();
  folder.write(kAdapterConfig, adapter_config(adapters.settings(), "base", "model.", {}).dump());
  write_safetensors_file(folder.path(kAdapterWeights), thin);
  EXPECT_EQ(merge_adapter(read_adapter(folder.path("")), tensors), 2 * decoder.config.num_hidden_layers);
  Decoder working = adapters.applied(decoder);
  for (const TensorSlot& slot : decoder_slots(working.config, true, working.weights)) {
    EXPECT_TRUE(tensors.at(slot.name).equal(slot.target->detach())) << slot.name;
  }
  // The same numbers in adapters that are made anew.
  Adapters other(decoder, parse_lora("rank=4,targets=q_proj,down_proj"), "model.", 9);
  load_adapter(read_adapter(folder.path("")), other);
  EXPECT_TRUE(other.slots()[5].target->equal(*adapters.slots()[5].target));
  tensors.erase("model.layers.0.mlp.down_proj.weight");
  EXPECT_NE(refusal_of([&] { merge_adapter(read_adapter(folder.path("")), tensors); }).find("mlp.down_proj"),
            std::string::npos);
}

TEST_F(Lora, RefusesByNameWhatItCannotDo) {
  const Decoder decoder = tiny();
  const auto made = [](const Decoder& of, const std::string& text) {
    Adapters(of, parse_lora(text), "model.", 0);
  };
  EXPECT_NE(usage_of([&] { made(decoder, "targets=query"); }).find("down_proj, gate_proj, k_proj"),
            std::string::npos);
  const std::string fused =
      usage_of([&] { made(load("architectures/phi3-short", at::kFloat), "targets=q_proj"); });
  EXPECT_NE(fused.find("q_proj"), std::string::npos) << fused;
  EXPECT_NE(fused.find("qkv_proj"), std::string::npos) << fused;
  made(load("architectures/phi3-short", at::kFloat), "targets=o_proj");
  Decoder trained = tiny();
  make_trainable(trained, {"*.q_proj.weight"}, {});
  EXPECT_NE(usage_of([&] { made(trained, "targets=q_proj"); }).find("has an adapter"), std::string::npos);
}

TEST_F(Lora, ReadsPlainAdaptersOnly) {
  const TemporaryFolder folder;
  const Json plain = adapter_config(parse_lora("rank=2"), "base", "model.", {});
  const std::string module = "base_model.model.model.layers.0.self_attn.q_proj";
  const at::Tensor a = at::randn({2, 8}), b = at::randn({6, 2});
  const auto written = [&](Json config, const std::map<std::string, at::Tensor>& tensors) {
    folder.write(kAdapterConfig, config.dump());
    write_safetensors_file(folder.path(kAdapterWeights), tensors);
    return folder.path("");
  };
  const std::map<std::string, at::Tensor> pair = {{module + ".lora_A.weight", a},
                                                  {module + ".lora_B.weight", b}};
  Json config = plain;
  config["use_rslora"] = true;
  EXPECT_NEAR(read_adapter(written(config, pair)).settings.scale(), 4 / std::sqrt(2.0), 1e-12);
  EXPECT_EQ(read_adapter(written(plain, pair)).settings.targets, (std::vector<std::string>{"q_proj"}));
  const auto refused = [&](const Json& of, const std::map<std::string, at::Tensor>& tensors,
                           const char* word) {
    const std::string said = refusal_of([&] { read_adapter(written(of, tensors)); });
    EXPECT_NE(said.find(word), std::string::npos) << said;
  };
  for (const char* key : {"use_dora", "lora_bias"}) {
    config = plain;
    config[key] = true;
    refused(config, pair, key);
  }
  config = plain;
  config["rank_pattern"] = {{"q_proj", 4}};
  refused(config, pair, "rank_pattern");
  config = plain;
  config["init_lora_weights"] = "pissa";
  refused(config, pair, "pissa");
  config = plain;
  config["peft_type"] = "IA3";
  refused(config, pair, "IA3");
  refused(plain, {{module + ".lora_A.weight", a}}, "expected lora_A [2, in]");
  refused(plain, {{"model.layers.0.x.lora_A.weight", a}}, "base_model.model.");
}

}  // namespace
}  // namespace ropescope
