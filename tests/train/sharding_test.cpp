// Several processes train one model: each way of sharding equals a single process.
#include "ropescope/train/sharding.h"

#include <cmath>
#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/device.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/train/memory_plan.h"
#include "ropescope/train/process_group.h"
#include "ropescope/train/text_model.h"
#include "ropescope/train/trainer.h"

#include "tests/support/golden.h"
#include "tests/support/ranks.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

const std::vector<ShardMode> kModes = {ShardMode::kNone, ShardMode::kOptimizer, ShardMode::kGradients,
                                       ShardMode::kParameters};

struct ShardedRun {
  std::string name, checkpoint, batches;
  bool recompute = false;
  std::vector<std::string> frozen = {};
  int64_t steps = 5;
  at::ScalarType compute = at::kFloat;
  double tolerance = 1e-5;
};

const std::vector<ShardedRun>& sharded_runs() {
  static const std::vector<ShardedRun> all = {
      {"llama", "language/llama-tiny/safetensors-fp32", "llama", false, {}, 20},
      {"llama-recomputed", "language/llama-tiny/safetensors-fp32", "llama", true},
      // (The gradient of a key's bias is rounding noise, which AdamW makes as large as any other.)
      {"qwen2-tied", "language/qwen2-tiny/safetensors-bf16-tied", "qwen2", true, {"*k_proj.bias"}},
      {"llama-partly-frozen", "language/llama-tiny/safetensors-fp32", "llama", false, {"*.mlp.*", "*embed*"}},
      // Ranks add the float32 gradients up in another order; now and then that turns the last bit of a
      // bfloat16 weight, 2^-9 of it.
      {"llama-bfloat16", "language/llama-tiny/safetensors-fp32", "llama", false, {}, 5, at::kBFloat16, 1e-4},
      {"qwen2-tied-bfloat16",
       "language/qwen2-tiny/safetensors-bf16-tied",
       "qwen2",
       true,
       {"*k_proj.bias"},
       5,
       at::kBFloat16,
       1e-4},
  };
  return all;
}

// What a run comes to: losses and norms of all steps, and all weights.
std::map<std::string, at::Tensor> train(const ShardedRun& subject, ProcessGroup* group, ShardMode mode,
                                        ShardMemory* measured = nullptr, ShardMemory* predicted = nullptr,
                                        Sharding::Gathers* gathers = nullptr) {
  const std::string folder = golden_path(subject.checkpoint);
  Decoder decoder = load_decoder(*open_checkpoint(folder), read_decoder_config(folder), {});
  const std::vector<Parameter> trained = make_trainable(decoder, {"*"}, subject.frozen);
  const std::vector<TensorSlot> slots = decoder_slots(decoder.config, true, decoder.weights);
  ParameterGroup norms;
  norms.pattern = "*norm*";
  norms.learning_rate = 1e-4;
  ParameterGroup all;
  // (AdamW makes rounding noise in tiny gradients as large as the learning rate.)
  all.learning_rate = 2e-4;
  all.weight_decay = 0.1;
  TrainerSettings settings;
  settings.weighting = LossWeighting::kTokens;
  settings.schedule.total_steps = 20;
  std::shared_ptr<Sharding> sharding;
  std::unique_ptr<Trainer> trainer;
  if (group != nullptr) {
    std::vector<std::string> names;
    for (const Parameter& parameter : trained) names.push_back(parameter.name);
    PlannedRun planned;
    planned.mode = mode;
    planned.world = group->world();
    planned.compute = subject.compute;
    if (predicted != nullptr) *predicted = plan_memory(slots, names, planned).held;
    sharding = std::make_shared<Sharding>(*group, mode, trained, slots, subject.compute);
    decoder.access = sharding;
    trainer = std::make_unique<Trainer>(AdamW(sharding->pieces(), {norms, all}, {}), settings, *sharding);
  } else {
    trainer = std::make_unique<Trainer>(AdamW(trained, {norms, all}, {}), settings);
  }
  const auto batches = golden_tensors("language/training/" + subject.batches + "_batches.safetensors");
  // Three micro-batches a step: two ranks have different numbers of them, and of four one has none.
  const int64_t micro_batches = 3, there = batches.at("input_ids").size(0);
  ModelLossOptions options;
  options.checkpoint_layers = subject.recompute;
  options.compute = subject.compute;
  std::vector<double> losses, norm;
  for (int64_t step = 0; step < subject.steps; ++step) {
    std::vector<TextBatch> own;
    for (int64_t m = 0; m < micro_batches; ++m) {
      if (group != nullptr && m % group->world() != group->rank()) continue;
      const int64_t index = (step * micro_batches + m) % there;
      TextBatch batch;
      batch.input_ids = batches.at("input_ids")[index];
      batch.attention_mask = batches.at("attention_mask")[index];
      batch.labels = batches.at("labels")[index];
      own.push_back(batch);
    }
    std::vector<Trainer::Micro> micro;
    for (const TextBatch& batch : own) micro.push_back(text_micro(decoder, batch, options));
    const StepReport report = trainer->step(micro);
    losses.push_back(report.loss);
    norm.push_back(report.gradient_norm);
  }
  const at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> result = {{"losses", at::tensor(losses, at::kFloat)},
                                              {"norms", at::tensor(norm, at::kFloat)}};
  for (const TensorSlot& slot : slots) {
    result[slot.name] = (sharding ? sharding->whole_weight(slot) : slot.target->detach()).clone();
  }
  if (measured != nullptr) *measured = sharding->measure(trainer->optimizer());
  if (gathers != nullptr) *gathers = sharding->gathers();
  return result;
}

Json memory_json(const ShardMemory& memory) {
  return {{"parameters", memory.parameters},
          {"gradients", memory.gradients},
          {"optimizer", memory.optimizer},
          {"gathered", memory.gathered_at_most}};
}

// One rank; started by the tests below.
TEST(Rank, DISABLED_Trains) {
  const auto output = process_environment()("ROPESCOPE_TEST_OUTPUT");
  if (!output) GTEST_SKIP() << "started by the other tests";
  set_threads(1);
  ProcessGroup::Settings settings;
  settings.timeout = std::chrono::seconds(60);
  settings.on_lost = [](const std::string& message) {
    fprintf(stderr, "%s\n", message.c_str());
    std::_Exit(4);
  };
  ProcessGroup group(read_launch(process_environment()), settings);
  Json memory = Json::object();
  for (const ShardedRun& subject : sharded_runs()) {
    for (const ShardMode mode : kModes) {
      ShardMemory measured, predicted;
      Sharding::Gathers gathers;
      const auto result = train(subject, &group, mode, &measured, &predicted, &gathers);
      const std::string name = subject.name + "-" + shard_mode_name(mode);
      memory[name] = {{"measured", memory_json(measured)}, {"predicted", memory_json(predicted)}};
      memory[name]["gathers"] = {
          {"parts", gathers.parts}, {"ahead", gathers.ahead}, {"most_at_once", gathers.most_at_once}};
      if (group.rank() == 0) write_safetensors(*output + "/" + name + ".safetensors", result);
    }
  }
  std::ofstream(*output + "/memory-" + std::to_string(group.rank()) + ".json") << memory.dump();
  group.barrier();
}

void expect_as_alone(const TemporaryFolder& folder) {
  for (const ShardedRun& subject : sharded_runs()) {
    const auto alone = train(subject, nullptr, ShardMode::kNone);
    for (const ShardMode mode : kModes) {
      SCOPED_TRACE(subject.name + " " + shard_mode_name(mode));
      const auto file =
          open_checkpoint(folder.path(subject.name + "-" + shard_mode_name(mode) + ".safetensors"));
      ASSERT_EQ(file->tensors().size(), alone.size());
      for (const auto& [name, tensor] : alone) {
        EXPECT_TRUE(all_close(file->take(name, at::kFloat), tensor, subject.tolerance, subject.tolerance))
            << name;
      }
    }
  }
}

void expect_memory_of_a_share(const TemporaryFolder& folder, int ranks) {
  for (int rank = 0; rank < ranks; ++rank) {
    std::ifstream file(folder.path("memory-" + std::to_string(rank) + ".json"));
    const Json memory = Json::parse(file);
    const auto bytes = [&](ShardMode mode, const char* what) {
      return memory.at("llama-" + shard_mode_name(mode)).at("measured").at(what).get<double>();
    };
    for (const ShardMode mode : kModes) {
      const Json& one = memory.at("llama-" + shard_mode_name(mode));
      for (const char* what : {"parameters", "gradients", "optimizer", "gathered"}) {
        const double predicted = one.at("predicted").at(what);
        EXPECT_NEAR(one.at("measured").at(what).get<double>(), predicted, 0.02 * predicted)
            << what << ", " << shard_mode_name(mode);
      }
    }
    // What is gathered is of the type that passes run in, what is kept is not.
    for (const char* what : {"parameters", "gathered"}) {
      const auto of = [&](const std::string& subject) {
        return memory.at(subject + "-parameters").at("measured").at(what).get<double>();
      };
      const bool kept = std::string(what) == "parameters";
      EXPECT_EQ(of("llama-bfloat16"), of("llama") / (kept ? 1 : 2)) << what;
    }
    const double all = bytes(ShardMode::kNone, "parameters"), share = 1.0 / static_cast<double>(ranks);
    EXPECT_NEAR(bytes(ShardMode::kOptimizer, "optimizer") / (2 * all), share, 0.02 * share);
    EXPECT_NEAR(bytes(ShardMode::kGradients, "gradients") / all, share, 0.02 * share);
    EXPECT_NEAR(bytes(ShardMode::kParameters, "parameters") / all, share, 0.02 * share);
  }
}

// Every part but those of a run's first passes is asked for while the one before it is at work, and no more than these two
// are whole at once.
void expect_next_part_on_its_way(const TemporaryFolder& folder, int ranks) {
  for (int rank = 0; rank < ranks; ++rank) {
    std::ifstream file(folder.path("memory-" + std::to_string(rank) + ".json"));
    const Json memory = Json::parse(file);
    for (const ShardedRun& subject : sharded_runs()) {
      SCOPED_TRACE(subject.name);
      const auto of = [&](ShardMode mode, const char* what) {
        return memory.at(subject.name + "-" + shard_mode_name(mode)).at("gathers").at(what).get<int64_t>();
      };
      const int64_t parts = of(ShardMode::kParameters, "parts");
      const bool has_rows = rank < 3;  // of three micro-batches a step
      EXPECT_EQ(parts > 0, has_rows);
      if (!has_rows) continue;
      // Of a pass the first part and what was not yet known in the first pass are not asked for ahead.
      const int64_t passes = subject.steps * (ranks == 2 && rank == 0 ? 2 : 1), a_pass = parts / passes;
      EXPECT_EQ(parts % passes, 0);
      EXPECT_EQ(of(ShardMode::kParameters, "ahead"), (passes - 1) * (a_pass - 1));
      EXPECT_EQ(of(ShardMode::kParameters, "most_at_once"), 2);
      EXPECT_EQ(of(ShardMode::kGradients, "parts"), 0);
    }
  }
}

class Ranks : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Sharding, Ranks, ::testing::Values(2, 4));

TEST_P(Ranks, EverySharingEqualsOneProcessAndHoldsItsShare) {
  set_threads(1);
  const TemporaryFolder folder;
  const std::string output = folder.path("");
  for (const RankResult& result :
       run_test_ranks(GetParam(), "Rank.DISABLED_Trains", {{"ROPESCOPE_TEST_OUTPUT", output}})) {
    ASSERT_EQ(result.exit_code, 0) << result.text;
  }
  expect_as_alone(folder);
  expect_memory_of_a_share(folder, GetParam());
  expect_next_part_on_its_way(folder, GetParam());
}

}  // namespace
}  // namespace ropescope
