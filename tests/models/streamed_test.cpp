// Weights that stay in their files give the numbers of weights in memory, bit for bit, in every container and family, and
// take no more memory than a layer or two.
#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <malloc.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/forward_run.h"
#include "ropescope/models/generate.h"
#include "ropescope/models/llava.h"
#include "ropescope/models/streamed_weights.h"
#include "ropescope/weights/safetensors_writer.h"

#include "tests/models/tiny_models.h"
#include "tests/support/golden.h"
#include "tests/support/golden_families.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

Decoder load(const std::string& path, WeightMode mode, at::ScalarType dtype = at::kFloat) {
  LoadOptions options;
  options.dtype = dtype;
  options.weights = mode;
  return load_decoder(open_checkpoint(path), read_decoder_config(path), options);
}

at::Tensor some_ids() {
  return at::tensor({5, 80, 7, 7, 12, 55, 31, 90, 8, 6, 44, 19}, at::kLong).unsqueeze(0);
}

void expect_equal(const std::map<int64_t, at::Tensor>& a, const std::map<int64_t, at::Tensor>& b,
                  const char* what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (const auto& [layer, x] : a) EXPECT_TRUE(at::equal(x, b.at(layer))) << what << " of layer " << layer;
}

void expect_same_pass(const std::string& path, at::ScalarType dtype) {
  SCOPED_TRACE(path);
  const Shown whole = run_and_show(load(path, WeightMode::kResident, dtype), some_ids());
  const Decoder streamed = load(path, WeightMode::kStreamed, dtype);
  ASSERT_NE(streamed.access, nullptr);
  const Shown shown = run_and_show(streamed, some_ids());
  expect_equal(whole.hidden, shown.hidden, "hidden");
  expect_equal(whole.q, shown.q, "q");
  expect_equal(whole.k, shown.k, "k");
  expect_equal(whole.q_rotated, shown.q_rotated, "rotated q");
  expect_equal(whole.attention, shown.attention, "attention");
  EXPECT_TRUE(at::equal(whole.output.final_hidden, shown.output.final_hidden));
  EXPECT_TRUE(at::equal(whole.output.logits, shown.output.logits));
}

class StreamedFamily : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Golden, StreamedFamily, ::testing::ValuesIn(golden_families()), family_test_name);

TEST_P(StreamedFamily, GivesTheSameBits) {
  expect_same_pass(golden_path("architectures/" + GetParam()), at::kFloat);
  expect_same_pass(golden_path("architectures/" + GetParam()), at::kBFloat16);
  expect_same_pass(golden_path("architectures/gguf/" + GetParam() + "-F16.gguf"), at::kFloat);
}

TEST(StreamedWeights, EveryContainerGivesTheSameBits) {
  for (const char* form : {"safetensors-fp32", "safetensors-sharded-bf16", "bin-fp16", "bin-sharded-bf16"}) {
    expect_same_pass(golden_path(std::string("language/llama-tiny/") + form), at::kFloat);
    expect_same_pass(golden_path(std::string("language/llama-tiny/") + form), at::kBFloat16);
  }
  for (const char* file : {"llama-tiny-F32.gguf", "llama-tiny-Q8_0.gguf"}) {
    expect_same_pass(golden_path(std::string("language/llama-tiny/gguf/") + file), at::kFloat);
    expect_same_pass(golden_path(std::string("language/llama-tiny/gguf/") + file), at::kBFloat16);
  }
  for (const char* form : {"bin-fp16-tied", "safetensors-bf16-untied"})
    expect_same_pass(golden_path(std::string("language/qwen2-tiny/") + form), at::kFloat);
}

TEST(StreamedWeights, AreThereWhileTheirLayerRunsOnly) {
  const Decoder decoder =
      load(golden_path("language/llama-tiny/safetensors-sharded-bf16"), WeightMode::kStreamed);
  const auto bytes = [&](size_t layer) {
    uint64_t held = 0;
    visit_layer(decoder.weights.layers[layer], [&](TensorKind, const at::Tensor& weight) {
      if (weight.defined()) held += weight.storage().nbytes();
    });
    return held;
  };
  EXPECT_EQ(decoder.weights.layers[1].q.sizes(), (at::IntArrayRef{64, 64}));
  const PassEncoding encoding = plain_encoding(decoder.config, 12);
  ForwardInput input;
  input.input_ids = some_ids();
  input.encoding = &encoding;
  Taps taps;
  int64_t seen = 0;
  taps.qk = [&](int64_t layer, const at::Tensor&, const at::Tensor&) {
    for (size_t l = 0; l < decoder.weights.layers.size(); ++l)
      EXPECT_EQ(bytes(l) > 0, static_cast<int64_t>(l) == layer) << l << " during " << layer;
    ++seen;
  };
  const at::NoGradGuard no_grad;
  forward(decoder, input, {}, taps);
  EXPECT_EQ(seen, decoder.config.num_hidden_layers);
  for (size_t l = 0; l < decoder.weights.layers.size(); ++l) EXPECT_EQ(bytes(l), 0u);
}

/// Private memory of this process that is not a file's, bytes.
double private_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return 1024 * std::stod(line.substr(8));
  }
  return 0;
}

TEST(StreamedWeights, TakeALayerAndAHalf) {
  // 8 layers of 12.6 million numbers: 50 MB each in float32.
  const Json config = {{"model_type", "llama"},         {"hidden_size", 1024},
                       {"intermediate_size", 2816},     {"vocab_size", 96},
                       {"num_hidden_layers", 8},        {"num_attention_heads", 8},
                       {"rms_norm_eps", 1e-5},          {"rope_theta", 1e4},
                       {"max_position_embeddings", 64}, {"tie_word_embeddings", false}};
  const DecoderConfig decoder_config = parse_decoder_config(config, "config.json");
  const TemporaryFolder folder;
  const std::string path = folder.path("model.safetensors");
  {
    DecoderWeights weights;
    weights.layers.resize(8);
    std::map<std::string, at::Tensor> tensors;
    for (const TensorSlot& slot : decoder_slots(decoder_config, true, weights))
      tensors[slot.name] = at::full(slot.shape, 0.01, at::kHalf);
    write_safetensors_file(path, tensors);
  }
  const auto growth = [&](WeightMode mode) {
    malloc_trim(0);  // what earlier tests have freed would hide what is taken now
    const double before = private_memory();
    LoadOptions options;
    options.weights = mode;
    const Decoder decoder = load_decoder(open_checkpoint(path), decoder_config, options);
    double most = 0;
    Taps taps;
    taps.hidden = [&](int64_t, const at::Tensor&) { most = std::max(most, private_memory() - before); };
    const at::NoGradGuard no_grad;
    const PassEncoding encoding = plain_encoding(decoder_config, 12);
    ForwardInput input;
    input.input_ids = some_ids();
    input.encoding = &encoding;
    forward(decoder, input, {}, taps);
    return most;
  };
  constexpr double kLayer = 12.6e6 * 4;
  EXPECT_LT(growth(WeightMode::kStreamed), 3 * kLayer);
  EXPECT_GT(growth(WeightMode::kResident), 5 * kLayer);
}

TEST(ForwardRun, KeysOfALayerAreGoneBehindIt) {
  const Decoder decoder = load_tiny("llama-tiny", "safetensors-fp32");
  const at::NoGradGuard no_grad;
  const PassEncoding encoding = plain_encoding(decoder.config, 12);
  ForwardInput input;
  input.input_ids = some_ids();
  input.encoding = &encoding;
  std::vector<c10::weak_intrusive_ptr<c10::StorageImpl>> keys;
  Taps taps;
  taps.qk_rotated = [&](int64_t, const at::Tensor&, const at::Tensor& k) {
    for (const auto& earlier : keys) EXPECT_TRUE(earlier.expired());
    keys.emplace_back(k.storage().getWeakStorageImpl());
  };
  forward(decoder, input, {}, taps);
  EXPECT_EQ(static_cast<int64_t>(keys.size()), decoder.config.num_hidden_layers);
}

TEST(StreamedWeights, AnswersAreTheSame) {
  const std::string path = golden_path("language/llama-tiny/bin-fp16");
  GenerateInput input;
  input.input_ids = some_ids();
  GenerateOptions options;
  options.max_new_tokens = 12;
  options.ignore_end = true;
  const at::Tensor whole = generate(load(path, WeightMode::kResident), input, options).ids;
  EXPECT_TRUE(at::equal(whole, generate(load(path, WeightMode::kStreamed), input, options).ids));
}

TEST(StreamedWeights, TextsThatWaitForEachOtherGiveTheirOwnNumbers) {
  const Decoder decoder = load(golden_path("language/llama-tiny/bin-fp16"), WeightMode::kStreamed);
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> alone, together(3);
  std::vector<std::unique_ptr<ForwardRun>> runs;
  for (int64_t tokens : {4, 12, 7}) {
    const PassEncoding encoding = plain_encoding(decoder.config, tokens);
    ForwardInput input;
    input.input_ids = some_ids().narrow(1, 0, tokens);
    input.encoding = &encoding;
    alone.push_back(forward(decoder, input).logits);
    runs.push_back(std::make_unique<ForwardRun>(decoder, input));
  }
  int64_t steps = 0;
  run_together(decoder, runs, [&] { ++steps; });
  EXPECT_EQ(steps, 3 * decoder.config.num_hidden_layers);
  for (size_t i = 0; i < runs.size(); ++i) EXPECT_TRUE(at::equal(runs[i]->finish().logits, alone[i])) << i;
}

// What lies behind a checkpoint, with one tensor that cannot be read for a while.
class Failing : public Checkpoint {
 public:
  Failing(std::shared_ptr<const Checkpoint> base, std::string bad)
      : base_(std::move(base)), bad_(std::move(bad)) {}
  const std::vector<TensorInfo>& tensors() const override { return base_->tensors(); }
  at::Tensor take(const std::string& name, at::ScalarType dtype) const override {
    if (fails && name == bad_) throw InputError("{}: cut short", bad_);
    return base_->take(name, dtype);
  }
  std::string container() const override { return base_->container(); }
  std::vector<std::filesystem::path> files() const override { return base_->files(); }

  bool fails = true;

 private:
  std::shared_ptr<const Checkpoint> base_;
  std::string bad_;
};

TEST(StreamedWeights, AFileThatFailsInTheMiddleIsNamedAndMayBeReadAgain) {
  const std::string path = golden_path("language/llama-tiny/safetensors-sharded-bf16");
  const Shown whole = run_and_show(load(path, WeightMode::kResident), some_ids());
  for (const char* part : {"self_attn.q_proj", "mlp.down_proj"}) {  // what is read ahead, and what is not
    const auto failing =
        std::make_shared<Failing>(open_checkpoint(path), std::string("model.layers.2.") + part + ".weight");
    LoadOptions options;
    options.weights = WeightMode::kStreamed;
    const Decoder decoder = load_decoder(failing, read_decoder_config(path), options);
    for (int i = 0; i < 2; ++i) {
      EXPECT_NE(refusal_of([&] { run_and_show(decoder, some_ids()); }).find("cut short"), std::string::npos);
    }
    failing->fails = false;
    EXPECT_TRUE(at::equal(run_and_show(decoder, some_ids()).output.logits, whole.output.logits));
  }
}

TEST(StreamedWeights, HoweverMuchIsReadAhead) {
  const std::string path = golden_path("language/llama-tiny/bin-fp16");
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(path);
  const DecoderConfig config = read_decoder_config(path);
  for (const double ahead : {0.0, 0.3, 0.5, 1.0}) {
    DecoderWeights weights;
    weights.layers.resize(static_cast<size_t>(config.num_hidden_layers));
    StreamedWeights streamed(checkpoint, at::kFloat, at::kCPU, ahead);
    for (int64_t l = 0; l < config.num_hidden_layers; ++l) streamed.add_part(layer_slots(config, l, weights));
    for (const int64_t l : {0, 1, 2, 1, 0, 2, 0}) {  // in order, and not
      for (const TensorSlot& slot : layer_slots(config, l, weights)) {
        const HeldWeights held(WeightAccessPointer(&streamed, [](WeightAccess*) {}), *slot.target);
        EXPECT_TRUE(at::equal(*slot.target, checkpoint->take(slot.name, at::kFloat))) << slot.name;
      }
    }
  }
}

TEST(StreamedWeights, RowsOfTables) {
  const std::string path = golden_path("language/llama-tiny/bin-fp16");
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(path);
  at::Tensor table;
  StreamedWeights streamed(checkpoint, at::kFloat, at::kCPU);
  const std::vector<int64_t> shape = checkpoint->find("model.embed_tokens.weight")->shape;
  streamed.add_table({"model.embed_tokens.weight", shape, &table});
  const at::Tensor whole = checkpoint->take("model.embed_tokens.weight", at::kFloat);
  const at::Tensor ids = at::tensor({3, 3, 351, 0, 7, 8, 9, 3}, at::kLong).view({2, 4});
  EXPECT_TRUE(at::equal(streamed.rows(table, ids), whole.index_select(0, ids.flatten()).view({2, 4, -1})));
  EXPECT_TRUE(at::equal(streamed.rows_between(table, 10, 5), whole.narrow(0, 10, 5)));
  EXPECT_EQ(table.storage().nbytes(), 0u);
}

TEST(StreamedWeights, SayWhoOwnsTheFile) {
  const std::string path = golden_path("language/llama-tiny/bin-fp16");
  LoadOptions options;
  options.weights = WeightMode::kStreamed;
  EXPECT_THROW(load_decoder(*open_checkpoint(path), read_decoder_config(path), options), InternalError);
}

TEST(StreamedWeights, AutoStreamsWhatMemoryHasNoRoomFor) {
  EXPECT_FALSE(weights_are_streamed(WeightMode::kAuto, at::kCPU, at::kFloat, {1 << 20, 1 << 20}));
  const uint64_t huge = uint64_t{1} << 50;
  EXPECT_TRUE(weights_are_streamed(WeightMode::kAuto, at::kCPU, at::kFloat, {huge, huge}));
  // What a mapped file has already takes none.
  EXPECT_FALSE(weights_are_streamed(WeightMode::kAuto, at::kCPU, at::kFloat, {huge, 0}));
  EXPECT_TRUE(weights_are_streamed(WeightMode::kStreamed, at::kCPU, at::kFloat, {1, 1}));
  EXPECT_FALSE(weights_are_streamed(WeightMode::kResident, at::kCPU, at::kFloat, {huge, huge}));
}

TEST(StreamedLlava, EmbedsImagesAndTextWithTheSameBits) {
  for (const char* name : {"llava-next-tiny-clip-llama", "llava-next-tiny-siglip-qwen2"}) {
    const std::string path = golden_path(std::string("vision/") + name);
    const LlavaConfig config = read_llava_config(path);
    const auto tiles = [&] {
      const auto side = config.tower.image_size;
      return at::full({3, 3, side, side}, 0.25).mul_(at::arange(3).view({3, 1, 1, 1}).add(1));
    }();
    LoadOptions options;
    const Llava whole = load_llava(open_checkpoint(path), config, path, options);
    options.weights = WeightMode::kStreamed;
    const Llava streamed = load_llava(open_checkpoint(path), config, path, options);
    ASSERT_NE(streamed.tower.access, nullptr);
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(at::equal(encode_tiles(whole, tiles), encode_tiles(streamed, tiles)));
    EXPECT_EQ(streamed.tower.weights.layers[0].q.weight.storage().nbytes(), 0u);
  }
}

}  // namespace
}  // namespace ropescope
