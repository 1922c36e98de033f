// ropescope-miniature text: a decoder that knows retrieval, under one theta.
#include <filesystem>
#include <iostream>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

#include "miniature/lessons.h"
#include "miniature/model.h"
#include "step.h"

namespace ropescope::miniature {

namespace {

namespace fs = std::filesystem;
using app::Flags;

struct TextFlags {
  std::string from;
  RopeFlags rotation;
  LessonSettings lesson = {.steps = 1000, .batch = 32, .learning_rate = 3e-3};

  void bind(Flags& flags) {
    bind_from(flags, from);
    rotation.bind(flags);
    flags.add("text-steps", lesson.steps, "at most so many steps");
    flags.add("text-batch", lesson.batch, "rows a step");
    flags.add("text-rate", lesson.learning_rate, "learning rate");
    bind_seed(flags, lesson.seed);
  }
};

/// A decoder that knows retrieval, under one theta and scaling: FROM/start-<theta>.
int text(const TextFlags& flags) {
  const fs::path from = flags.from;
  const Json prepared = read_if_there(from / "prepared.json");
  const World world = world_of(prepared, from);
  const LessonSettings& lesson = flags.lesson;
  const RopeConfig rope = flags.rotation.rope(world);
  Json settings = {{"eyes", prepared},      {"theta", rope.theta},          {"steps", lesson.steps},
                   {"batch", lesson.batch}, {"rate", lesson.learning_rate}, {"seed", lesson.seed}};
  if (const Json scaling = scaling_json(rope); !scaling.is_null()) settings["scaling"] = scaling;
  const fs::path folder = start_folder(from, rope);
  const fs::path report_file = folder.string() + ".json";
  if (read_if_there(report_file).value("settings", Json()) == settings) return 0;
  Llava llava = load_model(from / "eyes", world);
  llava.config.decoder.rope() = llava.decoder.config.rope() = rope;
  const double right = teach_text(llava, world, lesson);
  save_model(llava, folder, "", world);
  const Json result = {{"settings", settings}, {"answers", right}};
  write_whole(report_file, result.dump(2) + "\n");
  std::cout << fmt::format("theta {:g}{}: {:.4f} of the questions about text answered\n", rope.theta,
                           scaling_suffix(rope), right);
  return 0;
}

}  // namespace

Step text_step() { return make_step("text", "a decoder that knows retrieval, under one theta", text); }

}  // namespace ropescope::miniature
