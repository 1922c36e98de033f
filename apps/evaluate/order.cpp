// ropescope order: makes the questions of the benchmark `order`, and its pictures.
#include <filesystem>
#include <map>

#include <fmt/format.h>

#include <ATen/ops/empty.h>

#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/strings.h"
#include "ropescope/core/unfinished.h"
#include "ropescope/core/version.h"
#include "ropescope/eval/order_questions.h"
#include "ropescope/vision/encode.h"

#include "command.h"

namespace ropescope::app {

namespace order {

namespace {

namespace fs = std::filesystem;

struct OrderFlags {
  int64_t count = 1000;
  int64_t side = 128;
  std::string output;

  void bind(Flags& flags) {
    flags.group("Questions");
    flags.add("count", count, "questions").between(1, 1'000'000);
    flags.add("side", side, "pixels of a picture's side").between(1, 4096);
    flags.add("output", output, "folder: questions.jsonl, eight .png files, order.json").required();
  }
};

std::string picture(const eval::OrderColour& colour, int64_t side) {
  at::Tensor rgb = at::empty({side, side, 3}, at::kByte);
  auto* const out = rgb.mutable_data_ptr<uint8_t>();
  for (int64_t i = 0; i < rgb.numel(); ++i) out[i] = colour.rgb[static_cast<size_t>(i % 3)];
  return encode_png(rgb);
}

int run(const OrderFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  if (settings.csv) throw UsageError("--csv: order prints text or --json");
  OutputFolder folder(flags.output);
  const fs::path questions = folder.path() / "questions.jsonl";
  if (fs::exists(questions) && !settings.force) {
    throw UsageError("{}: there are questions already; --force replaces them", questions.string());
  }
  std::string lines;
  std::map<std::string, int64_t> tags;
  for (int64_t i = 0; i < flags.count; ++i) {
    const Json question = eval::order_question(settings.seed, i);
    ++tags[question.at("tag").get<std::string>()];
    lines += question.dump() + "\n";
  }
  for (const eval::OrderColour& colour : eval::kOrderColours) {
    replace_text_file(folder.path() / eval::order_picture_file(colour.name), picture(colour, flags.side));
  }
  replace_text_file(questions, lines);
  const Json made = {{"questions", flags.count}, {"seed", settings.seed},
                     {"side", flags.side},       {"by_tag", tags},
                     {"version", version()},     {"sha256", sha256_of_file(questions)}};
  replace_text_file(folder.path() / "order.json", made.dump(2) + "\n");
  folder.keep();
  if (settings.json) {
    fmt::print("{}\n", made.dump());
    return 0;
  }
  fmt::print("{}, seed {}:", counted(flags.count, "question"), settings.seed);
  for (const auto& [tag, count] : tags) fmt::print(" {} {}", count, tag);
  fmt::print("\nwritten: {}\n", questions.string());
  return 0;
}

}  // namespace

}  // namespace order

extern const Command kOrder;
const Command kOrder = make_command<order::OrderFlags>(
    "order", "Makes questions about the order of pictures and texts.",
    "ropescope order --count 1000 --seed 0 --output order", kDraws | kWrites | kJson, order::run);

}  // namespace ropescope::app
