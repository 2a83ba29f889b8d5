namespace Vmsweep.Signatures.Yara;

/// <summary>A rule that is in use, and what makes it this rule and no other: equal ids match equal contents.</summary>
/// <param name="Id">
/// A digest over the rule's text and namespace, the modules it asks, the rules it refers to and the global rules of its namespace, each
/// with all that they depend on.
/// </param>
/// <param name="IsPrivate">Never reported.</param>
/// <param name="IsVolatile">
/// It, or a rule it depends on, asks for more than the content (a name, an owner, the time), so that equal contents may match otherwise.
/// </param>
public sealed record RuleIdentity(string Namespace, string Name, UInt128 Id, bool IsPrivate, bool IsVolatile);
