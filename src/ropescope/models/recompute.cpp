#include "ropescope/models/recompute.h"

#include <string>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "ropescope/core/autograd.h"

namespace ropescope {

namespace {

using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

// A node of the graph by itself: torch::autograd::Function takes a number of tensors that is fixed in its
// type.
struct Recompute : Node {
  std::function<at::Tensor(const at::Tensor&)> body;
  SavedVariable input;
  variable_list parameters;  // leaves or results of other nodes: what the edges after the first lead to

  variable_list apply(variable_list&& outer) override {
    const at::AutoGradMode with_graph(true);
    const at::Tensor x = input.unpack().detach().set_requires_grad(true);
    variable_list wanted = {x};
    for (const at::Tensor& parameter : parameters) {
      if (parameter.requires_grad()) wanted.push_back(parameter);
    }
    const variable_list found = torch::autograd::grad({body(x)}, wanted, {outer[0]}, /*retain_graph=*/false,
                                                      /*create_graph=*/false, /*allow_unused=*/true);
    variable_list gradients = {found[0]};
    for (size_t i = 0, next = 1; i < parameters.size(); ++i) {
      gradients.push_back(parameters[i].requires_grad() ? found[next++] : at::Tensor());
    }
    return gradients;
  }

  void release_variables() override {
    input.reset_data();
    parameters.clear();
    body = nullptr;
  }

  std::string name() const override { return "ropescope::Recompute"; }
};

}  // namespace

at::Tensor recomputed(std::function<at::Tensor(const at::Tensor&)> body, const at::Tensor& x,
                      const std::vector<at::Tensor>& parameters) {
  variable_list inputs = {x};
  inputs.insert(inputs.end(), parameters.begin(), parameters.end());
  if (!torch::autograd::compute_requires_grad(inputs)) return body(x);
  const auto node = c10::make_intrusive<Recompute>();
  node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  node->input = SavedVariable(x, /*is_output=*/false);
  node->parameters = parameters;
  // With a graph of its own, let go at once: kernels that only serve passes without autograd round
  // differently, and the second pass must see the numbers of the first.
  const at::Tensor y = body(x.detach().set_requires_grad(true)).detach();
  node->body = std::move(body);
  torch::autograd::set_history(y, node);
  return y;
}

}  // namespace ropescope
