using System.Net.Sockets;
using System.Security.Authentication;
using Vmsweep.Appliance.Connectors.HyperV.Wmi;
using Vmsweep.Appliance.Connectors.Libvirt;
using Vmsweep.Appliance.Connectors.Qemu;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Appliance.Connectors.Xen;

namespace Vmsweep.Appliance.Connectors;

/// <summary>Tells a hypervisor that was lost, and may come back by itself, from one that answers and refuses: only the first is worth trying again.</summary>
internal static class HostLoss
{
    /// <param name="failure">What a connector or a view of it threw, after all attempts of its own.</param>
    public static bool Is(Exception failure)
    {
        for (Exception? at = failure; at is not null; at = at.InnerException)
        {
            switch (at)
            {
                case AuthenticationException:
                    // Another's certificate stays another's.
                    return false;
                case ConnectorException { IsLost: true } or HostLostException or QemuGoneException or LibvirtException { IsLost: true } or VimFaultException { IsLost: true } or XapiException { IsLost: true } or WsManFaultException { IsBusy: true }:
                case SocketException { SocketErrorCode: not SocketError.AccessDenied }:
                    return true;
            }
        }

        return false;
    }
}

/// <summary>Nothing answers there, or the connection broke.</summary>
internal class HostLostException(string message, Exception? inner = null) : IOException(message, inner);
