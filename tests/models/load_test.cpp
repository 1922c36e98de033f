// Decoders from checkpoints whose configuration and tensors say different things, or go by other names.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/decoder.h"
#include "ropescope/models/llava.h"

#include "tests/models/tiny_models.h"
#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Tensors = std::map<std::string, at::Tensor>;

const std::string kFolder = "language/llama-tiny/safetensors-fp32";
const std::string kHead = "lm_head.weight", kEmbedding = "model.embed_tokens.weight";

/// The golden Llama (its head is not its embedding) with other tensors and settings.
class LoadForms : public ::testing::Test {
 protected:
  void put(const Tensors& tensors, bool tied) {
    write_safetensors(folder_.path("model.safetensors"), tensors);
    put_config(tied);
  }
  void put_config(bool tied) {
    Json config = golden_json(kFolder + "/config.json");
    config["tie_word_embeddings"] = tied;
    folder_.write("config.json", config.dump());
  }
  Decoder load(bool with_lm_head = true) {
    LoadOptions options;
    options.with_lm_head = with_lm_head;
    const std::string path = folder_.path("");
    Decoder decoder;
    ::testing::internal::CaptureStderr();
    try {
      decoder = load_decoder(*open_checkpoint(path), read_decoder_config(path), options);
    } catch (...) {
      words_ = ::testing::internal::GetCapturedStderr();
      throw;
    }
    words_ = ::testing::internal::GetCapturedStderr();
    return decoder;
  }
  at::Tensor logits(const Decoder& decoder) {
    return run_and_show(decoder, at::tensor({1, 7, 42, 300, 5}, at::kLong).view({1, 5})).output.logits;
  }

  TemporaryFolder folder_;
  Tensors all_ = golden_tensors(kFolder + "/model.safetensors");
  std::string words_;
};

TEST_F(LoadForms, TwoMatricesThatDifferAreNotTiedWhateverTheFlagSays) {
  const at::Tensor expected = logits(load_tiny("llama-tiny", "safetensors-fp32"));
  put(all_, true);
  const Decoder decoder = load();
  EXPECT_TRUE(at::equal(logits(decoder), expected));
  EXPECT_FALSE(decoder.config.tie_word_embeddings);
  EXPECT_THAT(words_, HasSubstr("lm_head.weight that differs from the embedding"));
  EXPECT_EQ(words_.find("differs"), words_.rfind("differs"));
}

TEST_F(LoadForms, TheSameHoldsForPickledFilesAndGguf) {
  for (const std::string name : {"bin-fp16/pytorch_model.bin", "gguf/llama-tiny-F16.gguf"}) {
    SCOPED_TRACE(name);
    const std::string source = golden_path("language/llama-tiny/" + name);
    const Decoder expected = load_decoder(*open_checkpoint(source), read_decoder_config(source), {});
    const std::string copy = folder_.path(fs::path(name).filename().string());
    fs::copy_file(source, copy);
    put_config(true);
    const Decoder decoder = load();
    EXPECT_FALSE(at::equal(decoder.weights.lm_head, decoder.weights.embed_tokens));
    EXPECT_TRUE(at::equal(decoder.weights.lm_head, expected.weights.lm_head));
    EXPECT_FALSE(decoder.config.tie_word_embeddings);
    EXPECT_THAT(words_, HasSubstr("not tied"));
    fs::remove(copy);
  }
}

TEST_F(LoadForms, EqualMatricesAreTiedWhereTheFlagSaysSo) {
  all_[kHead] = all_.at(kEmbedding).clone();
  put(all_, true);
  const Decoder tied = load();
  EXPECT_TRUE(tied.weights.lm_head.is_same(tied.weights.embed_tokens));
  EXPECT_TRUE(tied.config.tie_word_embeddings);
  EXPECT_EQ(words_, "");
  put(all_, false);
  EXPECT_FALSE(load().config.tie_word_embeddings);
}

TEST_F(LoadForms, OneMatrixServesForBothUnderATie) {
  const at::Tensor embedding = all_.at(kEmbedding);
  Tensors one = all_;
  one.erase(kHead);
  put(one, true);
  EXPECT_TRUE(at::equal(load().weights.lm_head, embedding));
  one = all_;
  one.erase(kEmbedding);
  put(one, true);
  for (const bool with_lm_head : {true, false}) {
    EXPECT_TRUE(at::equal(load(with_lm_head).weights.embed_tokens, all_.at(kHead)));
    EXPECT_EQ(words_, "");
  }
  put(one, false);
  EXPECT_THAT(refusal_of([&] { load(); }), HasSubstr("missing: model.embed_tokens.weight; it has no other"));
}

TEST_F(LoadForms, ABaseModelShowsQueriesAndKeysButHasNoLogits) {
  const Decoder whole = load_tiny("llama-tiny", "safetensors-fp32");
  const at::Tensor ids = at::tensor({1, 7, 42}, at::kLong).view({1, 3});
  for (const std::string prefix : {"", "model.model.", "module.model.", "decoder."}) {
    SCOPED_TRACE(prefix);
    Tensors renamed;
    for (const auto& [name, tensor] : all_) {
      if (name != kHead) renamed[prefix + name.substr(6)] = tensor;
    }
    put(renamed, false);
    const Decoder base = load(/*with_lm_head=*/false);
    EXPECT_EQ(words_, "");
    EXPECT_TRUE(at::equal(base.weights.layers[2].k, whole.weights.layers[2].k));
    EXPECT_TRUE(at::equal(base.weights.embed_tokens, whole.weights.embed_tokens));
    EXPECT_THAT(refusal_of([&] { load(); }),
                ::testing::AllOf(HasSubstr("expected an output matrix"), HasSubstr("no logits")));
    // A whole model under the prefix keeps its head, inside or outside of it.
    const bool whole_prefix = prefix.ends_with("model.");
    renamed[whole_prefix ? prefix.substr(0, prefix.size() - 6) + kHead : prefix + kHead] = all_.at(kHead);
    put(renamed, false);
    EXPECT_TRUE(at::equal(load().weights.lm_head, whole.weights.lm_head));
  }
}

TEST_F(LoadForms, WhatIsMissingIsSaidBesideWhatIsThere) {
  Tensors other;
  for (const auto& [name, tensor] : all_) other["encoder.block." + name + ".x"] = tensor;
  put(other, false);
  EXPECT_THAT(refusal_of([&] { load(); }),
              ::testing::AllOf(HasSubstr("29 of 29 tensors of the decoder are missing"),
                               HasSubstr("has instead: encoder.block.lm_head.weight.x, ")));
  // Two decoders in one file: neither is taken.
  Tensors two;
  for (const auto& [name, tensor] : all_) two["a." + name] = two["b." + name] = tensor;
  put(two, false);
  EXPECT_THAT(refusal_of([&] { load(); }), HasSubstr("has instead: a.lm_head.weight, "));
}

TEST_F(LoadForms, ScalesBesideTheWeightsAreNotLeftOut) {
  all_["blk.0.attn_q.scale"] = at::tensor({2.0F});
  put(all_, false);
  EXPECT_THAT(refusal_of([&] { load(); }), HasSubstr("blk.0.attn_q.scale"));
}

TEST_F(LoadForms, AModelThatSeesIsNotTiedEither) {
  const std::string source = golden_path("vision/llava-next-tiny-clip-llama");
  for (const fs::directory_entry& entry : fs::directory_iterator(source)) {
    if (entry.is_regular_file()) fs::copy_file(entry.path(), folder_.path(entry.path().filename().string()));
  }
  const auto load = [](const std::string& path) {
    return load_llava(*open_checkpoint(path), read_llava_config(path), path, {});
  };
  const Llava expected = load(source);
  ASSERT_FALSE(at::equal(expected.decoder.weights.lm_head, expected.decoder.weights.embed_tokens));
  fs::permissions(folder_.path("config.json"), fs::perms::owner_write, fs::perm_options::add);
  Json config = golden_json("vision/llava-next-tiny-clip-llama/config.json");
  config["text_config"]["tie_word_embeddings"] = true;
  folder_.write("config.json", config.dump());
  ::testing::internal::CaptureStderr();
  const Llava llava = load(folder_.path(""));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("not tied"));
  EXPECT_TRUE(at::equal(llava.decoder.weights.lm_head, expected.decoder.weights.lm_head));
  EXPECT_FALSE(llava.config.decoder.tie_word_embeddings);
}

}  // namespace
}  // namespace ropescope::testing
