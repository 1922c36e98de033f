// Models, attention, losses, gradients and training away from the CPU's own kernels: every place of tests/support/places.h
// gives the numbers of the CPU's kernels and of the golden files, within what its type resolves. tests/gpu.sh runs the same
// tests on a card.
#include <cmath>
#include <optional>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/autograd.h"
#include "ropescope/core/device.h"
#include "ropescope/core/device_branch.h"
#include "ropescope/models/generate.h"
#include "ropescope/models/pair_attention.h"
#include "ropescope/models/sampling.h"
#include "ropescope/train/text_model.h"
#include "ropescope/train/trainer.h"
#include "ropescope/train/vlm_model.h"
#include "ropescope/vision/preprocess.h"

#include "tests/support/golden.h"
#include "tests/support/llava_next.h"
#include "tests/support/places.h"
#include "tests/support/pretend_device.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

const at::Device kCpu = at::kCPU;

class OnDevice : public ::testing::TestWithParam<Place> {
 protected:
  OnDevice() {
    set_threads(1);  // these products are too small to share
    if (GetParam().generic) generic_.emplace();
  }

  bool narrow() const { return GetParam().dtype != at::kFloat; }
  bool pretends() const { return is_pretend(GetParam().device); }

  /// What the CPU's own kernels say in float32.
  template <typename Work>
  auto reference(const Work& work) {
    generic_.reset();
    auto found = work(Place{"CPU", kCpu, at::kFloat});
    if (GetParam().generic) generic_.emplace();
    return found;
  }

  /// The largest difference as a share of the largest number expected, at most `in_float` or `in_bfloat`.
  void expect_close(const std::string& what, const at::Tensor& found, const at::Tensor& expected,
                    double in_float, double in_bfloat) const {
    const at::Tensor a = found.detach().cpu().to(at::kDouble), b = expected.detach().cpu().to(at::kDouble);
    ASSERT_EQ(a.sizes(), b.sizes()) << what;
    const double tolerance = narrow() ? in_bfloat : in_float;
    const double error = a.sub(b).abs().max().item<double>() / std::max(1e-30, b.abs().max().item<double>());
    EXPECT_LE(error, tolerance) << what;  // (not a number is no less than anything)
    if (place_is_chosen()) fmt::print("on-device | {} | {:.2e} | {:.0e}\n", what, error, tolerance);
  }
  void expect_close(const std::string& what, double found, double expected, double in_float,
                    double in_bfloat) const {
    expect_close(what, at::tensor({found}, at::kDouble), at::tensor({expected}, at::kDouble), in_float,
                 in_bfloat);
  }

 private:
  std::optional<GenericKernels> generic_;
};

INSTANTIATE_TEST_SUITE_P(Place, OnDevice, ::testing::ValuesIn(places()),
                         [](const auto& instance) { return instance.param.name; });

const std::vector<std::pair<std::string, std::string>> kDecoders = {{"llama-tiny", "safetensors-fp32"},
                                                                    {"qwen2-tiny", "safetensors-bf16-tied"}};

Decoder tiny_decoder(const std::pair<std::string, std::string>& model, at::Device device,
                     at::ScalarType dtype) {
  const std::string path = golden_path("language/" + model.first + "/" + model.second);
  return load_decoder(*open_checkpoint(path), read_decoder_config(path), {device, dtype});
}

TEST_P(OnDevice, LogitsEqualTheGoldenFiles) {
  const at::NoGradGuard no_grad;
  for (const auto& model : kDecoders) {
    const Decoder decoder = tiny_decoder(model, GetParam().device, GetParam().dtype);
    const auto golden = golden_tensors("language/" + model.first + "/expected.safetensors");
    for (const std::string name : {"single1", "main", "right"}) {
      ForwardInput input;
      input.input_ids = golden.at(name + ".input_ids");
      if (golden.count(name + ".attention_mask") > 0)
        input.attention_mask = golden.at(name + ".attention_mask");
      const RotaryTable rotary = plain_rotary_table(decoder.config, input.input_ids.size(1));
      input.blind_query = BlindQuery::kMean;
      input.rotary = &rotary;
      const ForwardOutput output = forward(decoder, input);
      EXPECT_EQ(output.logits.device().type(), GetParam().device.type());
      expect_close(model.first + " logits, " + name, output.logits, golden.at(name + ".logits"), 2e-5, 0.04);
    }
  }
}

TEST_P(OnDevice, GreedyTokensEqualTheGoldenFiles) {
  for (const auto& model : kDecoders) {
    const Decoder decoder = tiny_decoder(model, GetParam().device, GetParam().dtype);
    const auto golden = golden_tensors("language/" + model.first + "/expected.safetensors");
    const Json expected = golden_json("language/" + model.first + "/expected.json");
    const Generation found =
        generate(decoder, {golden.at("main.input_ids"), golden.at("main.attention_mask"), {}}, {8, true, {}});
    ASSERT_EQ(found.ids.size(1), 8);
    if (narrow()) continue;  // one token that rounds otherwise changes all that follow
    for (int64_t row = 0; row < 2; ++row) {
      const at::Tensor ids = found.ids[row].contiguous();
      EXPECT_EQ(
          std::vector<int64_t>(ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + 8),
          expected.at("greedy_left_padded_batch").at(static_cast<size_t>(row)).get<std::vector<int64_t>>());
    }
  }
}

// Rows of padding see nothing: fused kernels must not make numbers of that which are none.
TEST_P(OnDevice, PaddingQueriesLeaveEverythingFinite) {
  Decoder decoder = tiny_decoder(kDecoders[0], GetParam().device, at::kFloat);
  const std::vector<Parameter> parameters = make_trainable(decoder, {"*"}, {});
  const auto golden = golden_tensors("language/llama-tiny/expected.safetensors");
  TextBatch batch{
      golden.at("main.input_ids"), golden.at("main.attention_mask"), golden.at("main.input_ids"), {}};
  ModelLossOptions options;
  options.compute = GetParam().dtype;
  const at::Tensor loss = text_loss(decoder, batch, 1.0, options);
  torch::autograd::backward({loss}, {});
  EXPECT_TRUE(std::isfinite(loss.item<double>()));
  EXPECT_TRUE(std::isfinite(gradient_norm(parameters)));
}

struct Picture {
  const char* name;
  std::vector<uint8_t> visual;
  int64_t queries;
};

std::vector<Picture> pictures() {
  const auto runs = [](const std::vector<int64_t>& lengths) {
    std::vector<uint8_t> visual;
    for (size_t i = 0; i < lengths.size(); ++i)
      visual.insert(visual.end(), static_cast<size_t>(lengths[i]), i % 2);
    return visual;
  };
  return {{"an image between texts", runs({9, 40, 7}), 56},
          {"many images", runs({3, 270, 2, 5, 4, 6, 1, 29, 8, 1}), 329},
          {"a step of generation", runs({9, 40, 7}), 1},
          {"few tokens after a past", runs({9, 40, 7, 3}), 12},
          {"many tokens after a past", runs({30, 40, 27, 8}), 60}};
}

// DIPE: forward and backward against float64.
TEST_P(OnDevice, PairAttentionEqualsFloat64) {
  for (const Picture& one : pictures()) {
    at::Generator random = at::detail::createCPUGenerator(3);
    const auto keys = static_cast<int64_t>(one.visual.size());
    std::vector<at::Tensor> inputs;
    for (const auto& [tokens, heads] : {std::pair{one.queries, 4}, {one.queries, 4}, {keys, 2}, {keys, 2}}) {
      inputs.push_back(at::randn({2, tokens, heads, 64}, random, at::kDouble).to(GetParam().dtype));
    }
    const at::Tensor direction = at::randn({2, one.queries, 256}, random, at::kDouble);
    const auto run = [&](at::Device device, at::ScalarType dtype) {
      std::vector<at::Tensor> leaves;
      for (const at::Tensor& x : inputs) {
        leaves.push_back(x.to(device, dtype).transpose(1, 2).detach().requires_grad_(true));
      }
      const PairAttentionPlan plan(one.visual, one.queries, dtype, device);
      const at::Tensor out = plan.attend(leaves[0], leaves[1], leaves[2], leaves[3]);
      std::vector<at::Tensor> found = torch::autograd::grad({out}, leaves, {direction.to(device, dtype)});
      found.push_back(out);
      return found;
    };
    const auto expected = reference([&](const Place&) { return run(kCpu, at::kDouble); });
    const auto found = run(GetParam().device, GetParam().dtype);
    const char* names[] = {"grad q_same", "grad q_cross", "grad k", "grad v", "out"};
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].scalar_type(), GetParam().dtype);
      expect_close(std::string("dipe, ") + one.name + ": " + names[i], found[i], expected[i], 5e-6, 0.03);
    }
  }
}

class SmallLlava {
 public:
  explicit SmallLlava(const std::string& name)
      : folder_("vision/llava-next-tiny-" + name),
        golden_(golden_tensors(folder_ + "/expected.safetensors")) {}

  Vlm load(at::Device device) const { return load_llava_next(golden_path(folder_), {device}); }
  Json expected() const { return golden_json(folder_ + "/expected.json"); }
  VlmRow row(const std::string& name) const {
    const auto integers = [&](const std::string& key) {
      const at::Tensor tensor = golden_.at(name + "." + key).flatten().contiguous();
      const int64_t* data = tensor.const_data_ptr<int64_t>();
      return std::vector<int64_t>(data, data + tensor.numel());
    };
    VlmRow made;
    made.name = name;
    made.text = {integers("input_ids"), integers("labels")};
    if (golden_.count(name + ".pixel_values") == 0) return made;
    const AnyresOptions anyres = *read_preprocess_settings(golden_path(folder_), PinpointRule::kHf).anyres;
    const at::Tensor pixels = golden_.at(name + ".pixel_values"),
                     sizes = golden_.at(name + ".image_sizes_hw");
    for (int64_t i = 0; i < pixels.size(0); ++i) {
      made.items.push_back(llava_item(
          pixels[i], anyres_geometry(sizes[i][1].item<int64_t>(), sizes[i][0].item<int64_t>(), anyres)));
    }
    return made;
  }

 private:
  std::string folder_;
  std::map<std::string, at::Tensor> golden_;
};

struct LossAndGradients {
  double loss = 0, norm = 0;
  at::Tensor projector, patches, queries;  // some gradients
};

LossAndGradients differentiate(const SmallLlava& model, const std::vector<VlmRow>& rows, const Place& place,
                               ModelLossOptions options) {
  Vlm llava = model.load(place.device);
  const std::vector<Parameter> parameters = make_trainable(llava, {"*"}, {});
  options.compute = place.dtype;
  const Trainer::Micro micro = vlm_micro(llava, rows, options);
  const at::Tensor loss = micro.loss(1.0 / static_cast<double>(micro.targets));
  torch::autograd::backward({loss}, {});
  return {loss.item<double>(), gradient_norm(parameters), llava.eyes.connector.weights.first.weight.grad(),
          llava.eyes.tower.weights.patch.weight.grad(), llava.decoder.weights.layers[0].q.grad()};
}

// Every kind of attention (plain, biased, pair), with and without layers that are computed twice.
TEST_P(OnDevice, LlavaLossesAndGradientsEqualTheCpus) {
  for (const char* name : {"clip-llama", "siglip-qwen2"}) {
    const SmallLlava model(name);
    const std::vector<VlmRow> rows = {model.row("two_images"), model.row("text_only")};
    for (const char* scheme : {"vanilla", "dipe", "cca", "alibi"}) {
      ModelLossOptions options;
      options.scheme = Scheme(scheme);
      const auto expected =
          reference([&](const Place& place) { return differentiate(model, rows, place, options); });
      for (const bool twice : {false, true}) {
        options.checkpoint_layers = twice;
        const LossAndGradients found = differentiate(model, rows, GetParam(), options);
        const std::string what = std::string(name) + " " + scheme + (twice ? ", layers twice" : "");
        expect_close(what + ": loss", found.loss, expected.loss, 1e-5, 0.01);
        expect_close(what + ": gradient norm", found.norm, expected.norm, 1e-4, 0.03);
        expect_close(what + ": projector", found.projector, expected.projector, 1e-4, 0.1);
        expect_close(what + ": patches", found.patches, expected.patches, 1e-4, 0.1);
        expect_close(what + ": q of layer 0", found.queries, expected.queries, 1e-4, 0.1);
      }
    }
  }
}

TEST_P(OnDevice, LlavaLossesEqualTheGoldenFiles) {
  for (const char* name : {"clip-llama", "siglip-qwen2"}) {
    const SmallLlava model(name);
    const Json golden = model.expected();
    for (const Json& one : golden.at("cases")) {
      const auto found = differentiate(model, {model.row(one.at("name"))}, GetParam(), {});
      const std::string what = std::string(name) + ", " + one.at("name").get<std::string>();
      expect_close(what + ": loss", found.loss, one.at("loss"), 1e-5, 0.01);
      expect_close(what + ": gradient norm", found.norm, one.at("grad_norm").at("total"), 1e-4, 0.03);
    }
  }
}

// Losses and gradient norms of the first steps of tests/golden/language/training.
class Steps {
 public:
  Steps(const std::string& model, const std::pair<std::string, std::string>& checkpoint, const Place& place)
      : golden_(golden_json("language/training/" + model + "_trajectories.json").at("runs").at("a_mean")),
        batches_(golden_tensors("language/training/" + model + "_batches.safetensors")),
        decoder_(tiny_decoder(checkpoint, place.device, at::kFloat)) {
    options_.compute = place.dtype;
    const Json& settings = golden_.at("settings");
    ParameterGroup group;
    group.learning_rate = settings.at("lr");
    group.weight_decay = settings.at("wd");
    AdamW::Settings adam{settings.at("betas").at(0), settings.at("betas").at(1), settings.at("eps")};
    TrainerSettings trainer;
    trainer.schedule.total_steps = 20;
    trainer.schedule.warmup_steps = warmup_steps(20, settings.at("warm"));
    trainer_.emplace(AdamW(make_trainable(decoder_, {"*"}, {}), {group}, adam), trainer);
  }

  StepReport next() {
    std::vector<Trainer::Micro> micro;
    const int64_t first = 2 * trainer_->steps_done();
    micro_.clear();
    for (int64_t m = 0; m < 2; ++m) {
      micro_.push_back({batches_.at("input_ids")[first + m],
                        batches_.at("attention_mask")[first + m],
                        batches_.at("labels")[first + m],
                        {}});
    }
    for (const TextBatch& batch : micro_) micro.push_back(text_micro(decoder_, batch, options_));
    return trainer_->step(micro);
  }
  const Json& golden() const { return golden_; }

 private:
  Json golden_;
  std::map<std::string, at::Tensor> batches_;
  Decoder decoder_;
  ModelLossOptions options_;
  std::vector<TextBatch> micro_;
  std::optional<Trainer> trainer_;
};

TEST_P(OnDevice, ThreeStepsOfTrainingEqualTheGoldenFiles) {
  for (const auto& [model, checkpoint] : {std::pair{"llama", kDecoders[0]}, {"qwen2", kDecoders[1]}}) {
    Steps steps(model, checkpoint, GetParam());
    for (size_t step = 0; step < 3; ++step) {
      const StepReport report = steps.next();
      const std::string what = fmt::format("{} training, step {}", model, step + 1);
      expect_close(what + ": loss", report.loss, steps.golden().at("loss").at(step), 2e-5, 0.01);
      expect_close(what + ": gradient norm", report.gradient_norm, steps.golden().at("grad_norm").at(step),
                   1e-4, 0.03);
    }
  }
}

using Counts = std::map<std::string, int64_t>;

// docs/devices.md lists these.
TEST_P(OnDevice, HostReadsOfAStepAndOfATokenAreFew) {
  if (!pretends()) GTEST_SKIP() << "counted on the pretend device";
  Steps steps("llama", kDecoders[0], GetParam());
  steps.next();
  {
    const HostReads reads;
    steps.next();
    // Two micro-batches: the loss of each; the gradient norm.
    EXPECT_EQ(reads.counts(), (Counts{{"_local_scalar_dense", 3}}));
  }
  const Decoder decoder = tiny_decoder(kDecoders[0], GetParam().device, GetParam().dtype);
  const auto golden = golden_tensors("language/llama-tiny/expected.safetensors");
  const auto reads_of = [&](int64_t tokens, const GenerateOptions& more) {
    GenerateOptions options = more;
    options.max_new_tokens = tokens;
    options.ignore_end = true;
    const HostReads reads;
    static_cast<void>(
        generate(decoder, {golden.at("main.input_ids"), golden.at("main.attention_mask"), {}}, options));
    return reads.counts();
  };
  // Greedy: the tokens of all rows. Sampling: whether the logits are finite, and the logits.
  EXPECT_EQ(reads_of(5, {}), (Counts{{"_copy_from", 5}}));
  TokenSampler sampler({1.0, 1.0, 0});
  GenerateOptions sampled;
  sampled.choose = [&](const at::Tensor& logits) { return sampler(logits); };
  EXPECT_EQ(reads_of(5, sampled), (Counts{{"_copy_from", 5}, {"_local_scalar_dense", 5}}));
}

TEST_P(OnDevice, AForwardAndBackwardPassReadsNothing) {
  if (!pretends()) GTEST_SKIP() << "counted on the pretend device";
  const SmallLlava model("clip-llama");
  Vlm llava = model.load(GetParam().device);
  const std::vector<Parameter> parameters = make_trainable(llava, {"*"}, {});
  const std::vector<VlmRow> rows = {model.row("two_images"), model.row("text_only")};
  for (const char* scheme : {"vanilla", "dipe", "cca", "alibi", "pype:interval=1"}) {
    ModelLossOptions options;
    options.scheme = Scheme(scheme);
    options.compute = GetParam().dtype;
    const Trainer::Micro micro = vlm_micro(llava, rows, options);
    const HostReads reads;
    torch::autograd::backward({micro.loss(1.0)}, {});
    EXPECT_EQ(reads.counts(), Counts()) << scheme;
  }
}

// What the pretend device is for: mistakes that a CPU would never notice are errors there.
TEST(PretendDevice, NoticesWhatACpuWouldNot) {
  const at::Tensor there = at::tensor({1.f, 2.f}).to(pretend_device()), here = at::tensor({3.f, 4.f});
  EXPECT_TRUE(all_close(there.mul(2).add(there), at::tensor({3.f, 6.f}), 0));
  EXPECT_THROW(static_cast<void>(there.add(here)), std::exception);
  const HostReads reads;
  EXPECT_EQ(there.sum().item<float>(), 3.f);
  EXPECT_EQ(there.ne(1).nonzero().cpu().numel(), 1);
  EXPECT_EQ(reads.counts(), (Counts{{"_copy_from", 1}, {"_local_scalar_dense", 1}, {"nonzero", 1}}));
  EXPECT_DEATH(static_cast<void>(*static_cast<const volatile float*>(there.const_data_ptr())), "");
}

}  // namespace
}  // namespace ropescope
