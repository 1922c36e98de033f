// ropescope-miniature prepare: pictures, the tower that sees them, and what it sees. draw: pictures alone.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <optional>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/core/log.h"
#include "ropescope/vision/preprocess.h"

#include "miniature/album.h"
#include "miniature/lessons.h"
#include "miniature/model.h"
#include "step.h"

namespace ropescope::miniature {

namespace {

namespace fs = std::filesystem;
using app::Flags;

struct PrepareFlags {
  std::string output, order = "llava-next", task = "place";
  World world;
  int64_t pictures = 2048, test_pictures = 256;
  ModelSize size;
  LessonSettings lesson = {.learning_rate = 3e-3};
  std::optional<int64_t> steps, batch;  // of the tower's lesson

  void bind(Flags& flags) {
    flags.add("output", output, "folder").required();
    flags.add("order", order,
              "of a picture's tokens: llava-next, internvl (tile by tile, thumbnail last) or native");
    flags.add(
        "task", task,
        "what is asked: place, the glyph of a colour's cell; relation, where the one cell with the last glyph lies, "
        "seen from a colour's cell");
    flags.add("side", world.side, "cells a side of a picture, and of the thumbnail: 4 or 8");
    flags.add("glyphs", world.glyphs, "kinds of glyphs").between(2, 12);
    flags.add("finer", world.finer, "high-resolution patches a side, in multiples of the plain pictures'")
        .between(1, 2);
    flags.add(
        "thumbnail-patch", world.thumbnail_patch,
        "pixels of the thumbnail's patches in the order native: 4 (four to a cell), 8, or 16; the picture's are 8");
    flags.add("pictures", pictures, "to train on");
    flags.add("test-pictures", test_pictures, "to measure on, of each kind");
    flags.add("width", size.width, "channels of the decoder");
    flags.add("heads", size.heads, "of the decoder");
    flags.add("layers", size.layers, "of the decoder");
    flags.add("tower-steps", steps, "steps of the tower")
        .shown_default("500, with --side 8 2000")
        .at_least(1);
    flags.add("tower-batch", batch, "tiles a step").shown_default("128, with --side 8 32").at_least(1);
    flags.add("tower-rate", lesson.learning_rate, "learning rate of the tower");
    bind_seed(flags, lesson.seed);
  }
};

/// 64 colours take more updates than 16 (after 500 a tower tells a quarter of them apart); a tile of them has four times the patches.
LessonSettings lesson_of(const PrepareFlags& flags, const World& world) {
  const bool many = world.side > kSide;
  LessonSettings lesson = flags.lesson;
  lesson.steps = flags.steps.value_or(many ? 2000 : 500);
  lesson.batch = flags.batch.value_or(many ? 32 : 128);
  return lesson;
}

/// Of eyes that hardly see nothing can be learned about positions; nor of those that an earlier build, with other lessons, left.
void warn_of_poor_eyes(const Json& prepared, const fs::path& file) {
  constexpr double kWellSeen = 0.9;
  const double colour = prepared.at("colour").get<double>(), glyph = prepared.at("glyph").get<double>();
  if (std::min(colour, glyph) >= kWellSeen) return;
  log_warning(
      "{}: its eyes tell {:.1f} % of colours and {:.1f} % of glyphs apart, so that what a decoder learns says more about the eyes than "
      "about positions. Try: more --tower-steps, or to remove the folder where an earlier build has made it",
      file.string(), 100 * colour, 100 * glyph);
}

/// Pictures, the tower that has learned to see them, and what it sees:
/// OUTPUT/{pictures,eyes,features.safetensors}.
int prepare(const PrepareFlags& flags) {
  const fs::path output = flags.output;
  const uint64_t seed = flags.lesson.seed;
  ModelSize size = flags.size;
  size.inner = 2 * size.width;
  const int64_t train = flags.pictures, test = flags.test_pictures;
  World world = flags.world;
  world.order = parse_order(flags.order);
  world.task = parse_task(flags.task);
  check_world(world);
  const LessonSettings lesson = lesson_of(flags, world);
  Json settings = {{"seed", seed},          {"pictures", train},     {"test_pictures", test},
                   {"width", size.width},   {"heads", size.heads},   {"layers", size.layers},
                   {"steps", lesson.steps}, {"batch", lesson.batch}, {"rate", lesson.learning_rate}};
  settings.update(to_json(world));
  const fs::path report_file = output / "prepared.json";
  const Json there = read_if_there(report_file);
  if (there.value("settings", Json()) == settings) {
    warn_of_poor_eyes(there, report_file);
    return 0;
  }
  draw_album(output / "pictures/train", "train", train, seen_shapes(world), seed, world);
  draw_album(output / "pictures/seen", "seen", test, seen_shapes(world), seed, world);
  draw_album(output / "pictures/unseen", "unseen", test, unseen_shapes(world), seed, world);
  Llava llava = fresh_model(size, 1e4, seed, world);
  save_model(llava, output / "eyes", "", world);
  const Cutter cutter(world, world.order == Order::kLlavaNext ? read_preprocess_settings(output / "eyes")
                                                              : PreprocessSettings{});
  std::vector<std::pair<std::string, Album>> albums;
  for (const char* name : {"train", "seen", "unseen"}) {
    albums.emplace_back(name, open_album(output / "pictures" / name, cutter));
  }
  const TowerReport report = teach_tower(llava, albums[0].second, albums[1].second, lesson);
  save_model(llava, output / "eyes", "", world);
  for (auto& [name, album] : albums) look_at(album, llava);
  save_albums(output / "features.safetensors", albums);
  const Json result = {{"settings", settings},
                       {"colour", report.colour},
                       {"glyph", report.glyph},
                       {"glyph_in_thumbnail", report.glyph_in_thumbnail},
                       {"colour_in_tile", report.colour_in_tile}};
  write_whole(report_file, result.dump(2) + "\n");
  std::cout << fmt::format(
      "seed {}: its eyes' features tell {:.1f} % of colours and {:.1f} % of glyphs apart (numbers: {})\n",
      seed, 100 * report.colour, 100 * report.glyph, report_file.string());
  warn_of_poor_eyes(result, report_file);
  return 0;
}

struct DrawFlags {
  std::string output;
  int64_t pictures = 2048;
  uint64_t seed = 0;

  void bind(Flags& flags) {
    flags.add("output", output, "folder").required();
    flags.add("pictures", pictures, "of each kind");
    bind_seed(flags, seed);
  }
};

/// Pictures that no model was trained on: OUTPUT/{seen,unseen}.
int draw(const DrawFlags& flags) {
  const fs::path output = flags.output;
  draw_album(output / "seen", "questions seen", flags.pictures, seen_shapes(), flags.seed);
  draw_album(output / "unseen", "questions unseen", flags.pictures, unseen_shapes(), flags.seed);
  return 0;
}

}  // namespace

Step prepare_step() {
  return make_step("prepare", "pictures, the tower that sees them, and what it sees", prepare);
}
Step draw_step() { return make_step("draw", "pictures alone, seen and unseen", draw); }

}  // namespace ropescope::miniature
