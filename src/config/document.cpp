#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "config/fields.h"
#include "config/node.h"
#include "config/reader.h"

namespace mara::config {

struct Document::Impl {
  Node root;
};

Document::Document(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Document::~Document() = default;
Document::Document(Document&&) noexcept = default;
Document& Document::operator=(Document&&) noexcept = default;

Document Document::load(const std::string& path) {
  MARA_CHECK(!std::filesystem::is_directory(path), path, ": a YAML file is required, this is a folder");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  MARA_CHECK(file.good() || file.eof(), path, ": cannot be read: ", std::strerror(errno));
  return parse(text, path);
}

Document Document::parse(const std::string& text, const std::string& name) {
  Node root = parse_yaml(text, {.name = name});
  MARA_CHECK(root.kind == Node::Kind::mapping, root.where, ": a mapping of keys to values is required, got ",
             describe(root));
  return Document(std::unique_ptr<Impl>(new Impl{std::move(root)}));
}

void Document::set(const std::string& assignment) {
  const std::string where = "--set " + assignment;
  const size_t equals = assignment.find('=');
  MARA_CHECK(equals != std::string::npos, where, ": key=value is required, there is no =");
  const std::string path = assignment.substr(0, equals);
  Node value = parse_yaml(assignment.substr(equals + 1), {.name = where, .has_lines = false, .path = path});

  Node* node = &impl_->root;
  std::string walked;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const std::string key = path.substr(begin, end - begin);
    MARA_CHECK(!key.empty(), where, ": a key is required ",
               end < path.size() ? "before every dot" : "before =", ", as in train.steps=100");
    MARA_CHECK(node->kind == Node::Kind::mapping, where, ": ", walked, " is ", describe(*node),
               " and has no keys in it");
    walked = join_key(walked, key);
    Node* next = node->find(key);
    if (!next) {
      node->keys.push_back(key);
      next = &node->items.emplace_back(Node{.kind = Node::Kind::mapping, .where = where});
    }
    node = next;
    begin = end + 1;
  }
  *node = std::move(value);
}

void Document::read_with(const std::function<void(Fields&)>& bind) const { read_node(impl_->root, bind); }

}  // namespace mara::config
