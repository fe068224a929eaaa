namespace ControlPlane.Resources;

/// <summary>Marks a member that holds a secret: every view shows <c>[redacted]</c> in its place, and only the store keeps it.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class SensitiveAttribute : Attribute;
