#include "train/train_processes.h"

#include <string>

#include <fmt/format.h>

#include <ATen/ops/tensor.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/train/memory_plan.h"

namespace ropescope::app::train {

std::unique_ptr<ProcessGroup> join_processes(const Launch& launch, const ProcessFlags& flags,
                                             at::Device device) {
  if (launch.world == 1) return nullptr;
  auto group =
      std::make_unique<ProcessGroup>(launch, ProcessGroup::Settings{meeting_settings(flags.timeout), device});
  log_info("{} ranks, started by {}", launch.world, launch.launcher);
  return group;
}

namespace {

Json memory_json(const ShardMemory& memory) {
  return {{"parameters_bytes", memory.parameters},
          {"gradients_bytes", memory.gradients},
          {"optimizer_bytes", memory.optimizer},
          {"gathered_at_most_bytes", memory.gathered_at_most}};
}

Json plan_json(const MemoryPlan& plan) {
  Json json = memory_json(plan.held);
  json["activations_bytes_at_most"] = plan.activations;
  json["loading_bytes"] = plan.loading;
  json["step_bytes"] = plan.step;
  json["peak_resident_bytes"] = plan.peak;
  return json;
}

MemoryPlan plan_of(TrainSubject& subject, const TrainFlags& flags, const CommonSettings& common,
                   int64_t ranks) {
  const RowTotals totals = subject.model().totals();
  const int64_t rows = flags.batch_size, accumulation = *flags.accumulation;
  PlannedRun run;
  run.mode = ranks == 1 ? ShardMode::kNone : parse_shard_mode(flags.processes.shard);
  run.world = ranks;
  run.compute = common.dtype;
  run.on_cpu = common.device.is_cpu();
  run.recomputes = flags.checkpoint_layers;
  run.micro_batches = (accumulation + ranks - 1) / ranks;
  run.tokens = rows * totals.longest;
  const auto of_rows = [&](int64_t all) { return rows * (all + totals.images - 1) / totals.images; };
  if (totals.images > 0) {
    run.image_tokens = of_rows(totals.image_tokens);
    run.tower_tokens = of_rows(totals.tower_tokens);
  }
  if (subject.adapters() != nullptr) run.adapted = subject.adapters()->adapted_numbers();
  std::vector<std::string> trained;
  for (const Parameter& parameter : subject.parameters()) trained.push_back(parameter.name);
  return plan_memory(subject.model().slots(), trained, run);
}

}  // namespace

void check_same_step(const ProcessGroup& group, int64_t step) {
  const at::Tensor steps = group.gather_numbers(at::tensor({step}, at::kLong));
  if (steps.min().item<int64_t>() != steps.max().item<int64_t>()) {
    throw EnvironmentError(
        "--resume: rank 0 goes on after step {}, rank {} after step {}. Try: an --output that all machines see",
        steps[0].item<int64_t>(), group.rank(), step);
  }
}

Json report_memory(TrainSubject& subject, Trainer& trainer, const TrainFlags& flags,
                   const CommonSettings& common) {
  Sharding* sharding = trainer.sharding();
  ShardMemory measured;
  if (sharding != nullptr) {
    measured = sharding->measure(trainer.optimizer());
  } else {
    for (const TensorSlot& slot : subject.model().slots()) {
      measured.parameters += static_cast<int64_t>(slot.target->nbytes());
    }
    measured.gradients = trainer.gradient_bytes();
    measured.optimizer = trainer.optimizer().state_bytes();
  }
  const int64_t world = sharding == nullptr ? 1 : sharding->group().world();
  Json own = {{"rank", sharding == nullptr ? 0 : sharding->group().rank()},
              {"predicted", plan_json(plan_of(subject, flags, common, world))},
              {"measured", memory_json(measured)},
              {"peak_resident_bytes", peak_memory_bytes()}};
  if (sharding != nullptr && sharding->mode() == ShardMode::kParameters) {
    const Sharding::Gathers& gathers = sharding->gathers();
    own["gathers"] = {{"parts", gathers.parts}, {"asked_ahead", gathers.ahead}, {"in_time", gathers.in_time}};
  }
  Json report = {{"shard", flags.processes.shard}, {"ranks", Json::array()}};
  if (sharding == nullptr) {
    report["ranks"].push_back(own);
    return report;
  }
  for (const std::string& text : sharding->group().gather_texts(own.dump())) {
    report["ranks"].push_back(Json::parse(text));
  }
  return report;
}

Json planned_memory(TrainSubject& subject, const TrainFlags& flags, const CommonSettings& common,
                    const Launch& launch) {
  const int64_t ranks = flags.processes.ranks > 0 ? flags.processes.ranks : launch.world;
  Json report = {{"shard", flags.processes.shard}, {"ranks", Json::array()}};
  const Json predicted = plan_json(plan_of(subject, flags, common, ranks));
  for (int64_t rank = 0; rank < ranks; ++rank) {
    report["ranks"].push_back({{"rank", rank}, {"predicted", predicted}});
  }
  return report;
}

std::string memory_table(const Json& report) {
  const auto mib = [](const Json& bytes) { return bytes.get<double>() / 1048576.0; };
  std::string text = fmt::format(
      "memory of each rank, MiB (--shard {})\nrank                parameters   gradients   optimizer    gathered        peak\n",
      report.at("shard").get<std::string>());
  for (const Json& rank : report.at("ranks")) {
    for (const char* kind : {"predicted", "measured"}) {
      if (!rank.contains(kind)) continue;
      const Json& memory = rank.at(kind);
      text +=
          fmt::format("{:>4} {:<12} {:>11.1f} {:>11.1f} {:>11.1f} {:>11.1f}", rank.at("rank").get<int64_t>(),
                      kind, mib(memory.at("parameters_bytes")), mib(memory.at("gradients_bytes")),
                      mib(memory.at("optimizer_bytes")), mib(memory.at("gathered_at_most_bytes")));
      const Json& whole = std::string(kind) == "measured" ? rank : memory;
      text += fmt::format(" {:>11.1f}", mib(whole.at("peak_resident_bytes")));
      text += "\n";
    }
  }
  return text;
}

}  // namespace ropescope::app::train
