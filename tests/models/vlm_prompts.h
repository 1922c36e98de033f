// Golden prompts of vision-language families, from the embeddings of their cases on.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/models/generate.h"

#include "tests/support/golden.h"
#include "tests/support/golden_vlm.h"

namespace ropescope::testing {

/// Absolute, as tests/golden/vlm/README.md has them.
inline constexpr double kVlmQk = 1e-4, kVlmAttention = 1e-5;
inline double vlm_logits(const std::string& family) { return family == "qwen3_5" ? 1e-3 : 2e-4; }

/// A prompt as it enters the decoder.
struct VlmPrompt {
  at::Tensor ids, embeds, positions, groups;
  std::vector<AddedFeatures> added;
  int64_t tokens() const { return ids.size(1); }
};

class VlmDecoder : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    decoder_ = load(WeightMode::kResident);
    golden_ = golden_tensors(vlm_file(GetParam(), "expected.safetensors"));
  }

  static Decoder load(WeightMode weights) {
    const std::string path = golden_path("vlm/" + GetParam());
    LoadOptions options;
    options.weights = weights;
    return load_decoder(open_checkpoint(path), read_decoder_config(path), options);
  }

  const at::Tensor* find(const std::string& name) const {
    const auto found = golden_.find(name);
    return found == golden_.end() ? nullptr : &found->second;
  }

  VlmPrompt prompt_of(const Json& one) const {
    const std::string name = one.at("name").get<std::string>() + ".";
    VlmPrompt prompt;
    prompt.ids = golden_.at(name + "input_ids").to(at::kLong).unsqueeze(0);
    prompt.embeds = golden_.at(name + "inputs_embeds").unsqueeze(0);
    prompt.positions = golden_.at(name + "position_ids").to(at::kDouble).unsqueeze(1);
    if (GetParam() == "gemma3") prompt.groups = at::full({1, prompt.tokens()}, -1, at::kInt);
    std::map<std::string, std::vector<at::Tensor>> places;
    int picture = 0;
    for (const Json& span : one.at("spans")) {
      const auto first = span.at(1).get<int64_t>(), count = span.at(2).get<int64_t>();
      places[span.at(0).get<std::string>()].push_back(at::arange(first, first + count, at::kLong));
      if (prompt.groups.defined()) prompt.groups.narrow(1, first, count).fill_(picture++);
    }
    for (const auto& [kind, index] : places) {
      for (int64_t layer = 0;
           const at::Tensor* deep = find(fmt::format("{}{}_deepstack.{}", name, kind, layer)); ++layer) {
        prompt.added.push_back({layer, at::cat(index), *deep});
      }
    }
    return prompt;
  }

  static ForwardInput input_of(const VlmPrompt& prompt, const PassEncoding& encoding) {
    ForwardInput input;
    input.inputs_embeds = prompt.embeds;
    input.groups = prompt.groups;
    input.added = prompt.added;
    input.encoding = &encoding;
    return input;
  }

  at::Tensor logits(const Decoder& decoder, const VlmPrompt& prompt,
                    const ForwardOptions& options = {}) const {
    const at::NoGradGuard no_grad;
    const PassEncoding encoding = encoding_for(decoder.config, prompt.positions);
    return forward(decoder, input_of(prompt, encoding), options).logits[0];
  }

  static GenerateInput generation_of(const VlmPrompt& prompt) {
    GenerateInput input;
    input.input_ids = prompt.ids;
    input.inputs_embeds = prompt.embeds;
    input.position_ids = prompt.positions;
    input.groups = prompt.groups;
    input.added = prompt.added;
    return input;
  }

  Decoder decoder_;
  std::map<std::string, at::Tensor> golden_;
};

}  // namespace ropescope::testing
