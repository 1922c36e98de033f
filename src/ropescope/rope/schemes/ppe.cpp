// PPE, arXiv 2510.22936: a token that stands for a cluster of merged tokens keeps the M-RoPE ids of k of its members,
// on 3k rows t_1..t_k, h_1..h_k, w_1..w_k. Each section of an axis is cut into k parts, and part j follows member j.
#include "ropescope/core/errors.h"
#include "ropescope/rope/schemes/mrope_design.h"
#include "ropescope/rope/schemes/registry.h"

namespace ropescope {

namespace {

class ManyPlacesDesign : public PositionDesign {
 public:
  ManyPlacesDesign(std::shared_ptr<const PositionDesign> one, int64_t kept)
      : one_(std::move(one)), kept_(kept) {}

  int64_t axes() const override { return 3 * kept_; }
  std::vector<std::string> row_names() const override {
    std::vector<std::string> names;
    for (const char* axis : {"t", "h", "w"}) {
      for (int64_t j = 1; j <= kept_; ++j) names.push_back(fmt::format("{}{}", axis, j));
    }
    return names;
  }

  // A token that was not merged is the only member of its cluster.
  double place(const Grid& grid, double base, const CoordinateRows& rows) const override {
    return spread(grid, base, rows, grid.tokens(), [](int64_t token, int64_t) { return token; });
  }

  // Clusters of fewer members go round again.
  double place_merged(const Segment& block, double base, const CoordinateRows& rows) const override {
    return spread(block.grid, base, rows, block.tokens(), [&](int64_t token, int64_t j) {
      const std::vector<int64_t>& members = block.members[static_cast<size_t>(token)];
      return members[static_cast<size_t>(j) % members.size()];
    });
  }

 private:
  template <typename MemberOf>
  double spread(const Grid& grid, double base, const CoordinateRows& rows, int64_t tokens,
                const MemberOf& member_of) const {
    const int64_t whole = grid.tokens();
    std::vector<double> unmerged(static_cast<size_t>(3 * whole));
    const CoordinateRows from(unmerged.data(), whole, 3);
    const double next = one_->place(grid, base, from);
    for (int64_t axis = 0; axis < 3; ++axis) {
      const double* const of_axis = from[static_cast<size_t>(axis)];
      for (int64_t j = 0; j < kept_; ++j) {
        double* const row = rows[static_cast<size_t>(axis * kept_ + j)];
        for (int64_t token = 0; token < tokens; ++token) row[token] = of_axis[member_of(token, j)];
      }
    }
    return next;
  }

  std::shared_ptr<const PositionDesign> one_;
  int64_t kept_;
};

}  // namespace

extern const SchemeDefinition kPpe = {
    "ppe",
    "a merged token keeps the M-RoPE ids of k of its members, each on its share of every axis's channels",
    "PPE, arXiv 2510.22936",
    {{"k", "8", "members whose places a token keeps"},
     {"sections", "", "t/h/w channels; where k does not divide them, channel i follows row i mod 3k"},
     {"temporal_stride", "1", "ids between two frames of a video block"}},
    [](const Parameters&) { return std::string("ppe"); },
    [](const Parameters& parameters,
       std::shared_ptr<const PositionDesign>) -> std::shared_ptr<const PositionDesign> {
      const int64_t kept = parameters.integer("k", 8, 1);
      if (kept > 1024) parameters.refuse("k", "at most 1024 members");
      return std::make_shared<ManyPlacesDesign>(make_mrope_design(parameters, 1.0), kept);
    },
    "",
    {}};

}  // namespace ropescope
