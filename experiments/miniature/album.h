// Pictures on disk, and what the model's own path makes of them: files -> pixels -> tiles -> tower.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/llava.h"

#include "pictures.h"
#include "views.h"

namespace ropescope::miniature {

/// Pictures of one shape: they have equal layouts, so they go through the decoder together.
struct Group {
  Shape shape;
  at::Tensor colours, glyphs;  ///< int64 [N, cells]
  at::Tensor tiles;            ///< float32 [N, ...] as Cutter gives them; undefined once looked at
  at::Tensor features;         ///< float32 [N, image tokens, tower channels], zero at newlines; see look_at
};

/// Pictures of several shapes.
struct Album {
  World world;
  std::vector<Group> groups;
  int64_t pictures() const;
  /// How many of a group's pictures are asked about where at most `most` of the album are, spread over its shapes; 0: all.
  int64_t asked_of(const Group& group, int64_t most) const;
};

/// Draws `count` pictures in turn of each shape into folder/*.png with their labels in folder/pictures.json.
/// What is drawn depends on seed and `name` only.
void draw_album(const std::filesystem::path& folder, const std::string& name, int64_t count,
                const std::vector<Shape>& shapes, uint64_t seed, const World& world = {});

/// Reads what draw_album wrote and cuts it. Throws InputError for a picture that does not come to its shape.
Album open_album(const std::filesystem::path& folder, const Cutter& cutter);

/// Where each image token of a picture of LLaVA-NeXT comes from: tile * cells + patch, or -1 for a newline.
std::vector<int64_t> token_sources(const AnyresGeometry& geometry);

/// Features of the patches of some of a group's pictures, [chosen, patches, tower channels], before look_at. Differentiable.
at::Tensor see(const Llava& llava, const Group& group, const at::Tensor& chosen);

/// Runs the vision tower over all pictures: fills `features`, lets go of `tiles`.
void look_at(Album& album, const Llava& llava);

/// Albums after look_at, by name.
void save_albums(const std::filesystem::path& file, const std::vector<std::pair<std::string, Album>>& albums);
Album load_album(const std::filesystem::path& file, const std::string& name, const World& world = {});

}  // namespace ropescope::miniature
